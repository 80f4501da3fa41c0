"""Absences of a cluster's nodes: a failover is waited out, and a longer outage fails only the keys of its node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

from reconciler_engine.errors import NodeAway, NodeUnavailable, StoreError, StoreUnavailable
from reconciler_engine.store.client.cluster_address import Place

FAILOVER_S: Final = 20.0
"""Absence after which a failover is not expected soon (s); `cluster-node-timeout` is 15 s by default."""

_TRY_EVERY_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0


@dataclass(slots=True)
class _Absence:
    since: float
    try_at: float
    error: StoreUnavailable
    is_silent: bool = False


class Away:
    """The nodes that do not serve, and the slots that no node serves; at most one record for each."""

    def __init__(self) -> None:
        self._absences: dict[Place | int, _Absence] = {}

    def __contains__(self, where: Place | int) -> bool:
        return where in self._absences

    def __bool__(self) -> bool:
        return bool(self._absences)

    def note(self, where: Place | int, error: StoreError, *, in_vain_s: float = 0.0) -> StoreError:
        """Record why a node or a slot does not serve, and return the error to raise for it.

        That is a `NodeUnavailable`, or a `NodeAway` once the absence has lasted `FAILOVER_S`. Any error other than a
        StoreUnavailable is returned unchanged and not recorded. `in_vain_s` is how long the caller waited for a silent
        node. From 1 s on, the node is not tried again for as long (at most 5 s): each caller would be held up by it.
        """
        if not isinstance(error, StoreUnavailable):
            return error
        now = trio.current_time()
        absence = self._absences.get(where)
        if absence is None or now > absence.try_at + FAILOVER_S:
            # It was not tried for longer than a failover, and may have served meanwhile: a new absence begins.
            absence = self._absences[where] = _Absence(now, now, error)
        absence.error = error
        absence.is_silent = in_vain_s >= _TRY_EVERY_S
        absence.try_at = now + min(max(_TRY_EVERY_S, in_vain_s), _LONGEST_PAUSE_S)
        return self._judged(absence)

    def served(self, where: Place | int) -> None:
        """Record that a node or a slot serves."""
        self._absences.pop(where, None)

    def refusal(self, where: Place | int) -> StoreError | None:
        """Return the error to raise instead of trying a node now, or None if it may be tried.

        A node that is silent, or has been away for `FAILOVER_S`, may be tried by one caller every 1 to 5 s.
        """
        absence = self._absences.get(where)
        if absence is None:
            return None
        now = trio.current_time()
        if not (_lasts(absence) or absence.is_silent) or now >= absence.try_at:
            absence.try_at = now + _TRY_EVERY_S
            return None
        return self._judged(absence)

    def keep(self, places: set[Place]) -> None:
        """Forget nodes that have left the cluster, which are not among `places`."""
        for where in [where for where in self._absences if isinstance(where, tuple) and where not in places]:
            del self._absences[where]

    def _judged(self, absence: _Absence) -> StoreError:
        if not _lasts(absence):
            told = NodeUnavailable(str(absence.error), code=absence.error.code)
        else:
            age_s = trio.current_time() - absence.since
            told = NodeAway(f"away for {age_s:.0f} s: {absence.error}", code=absence.error.code)
        told.__cause__ = absence.error
        return told


def _lasts(absence: _Absence) -> bool:
    return trio.current_time() - absence.since >= FAILOVER_S
