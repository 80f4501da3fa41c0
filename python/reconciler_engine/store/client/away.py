"""Nodes of a cluster that are away, and since when: a failover is waited for, a longer outage fails its keys alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

from reconciler_engine.errors import NodeAway, NodeUnavailable, StoreError, StoreUnavailable
from reconciler_engine.store.client.cluster_address import Place

FAILOVER_S: Final = 20.0
"""A node that is away for longer has no successor soon: a cluster's own timeout is 15 s unless it is set."""

_TRY_EVERY_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0


@dataclass(slots=True)
class _Absence:
    since: float
    try_at: float
    error: StoreUnavailable
    is_silent: bool = False


class Away:
    """The nodes that do not serve, and the slots that none does. It is bounded by both."""

    def __init__(self) -> None:
        self._absences: dict[Place | int, _Absence] = {}

    def __contains__(self, where: Place | int) -> bool:
        return where in self._absences

    def __bool__(self) -> bool:
        return bool(self._absences)

    def note(self, where: Place | int, error: StoreError, *, in_vain_s: float = 0.0) -> StoreError:
        """Note why a node, or a slot, does not serve; return a `NodeUnavailable`, once that has lasted a `NodeAway`.

        An error that is none of a server's being away is returned as it is. A node that was waited for in vain, for so
        many seconds, is not tried again for as long: each caller would be held up by it.
        """
        if not isinstance(error, StoreUnavailable):
            return error
        now = trio.current_time()
        absence = self._absences.get(where)
        if absence is None or now > absence.try_at + FAILOVER_S:
            # Nobody has tried it since: it may have been back.
            absence = self._absences[where] = _Absence(now, now, error)
        absence.error = error
        absence.is_silent = in_vain_s >= _TRY_EVERY_S
        absence.try_at = now + min(max(_TRY_EVERY_S, in_vain_s), _LONGEST_PAUSE_S)
        return self._judged(absence)

    def served(self, where: Place | int) -> None:
        """Note that a node, or a slot, serves."""
        self._absences.pop(where, None)

    def refusal(self, where: Place | int) -> StoreError | None:
        """Return why a node is not to be tried now; one that is silent or long away is tried now and then."""
        absence = self._absences.get(where)
        if absence is None:
            return None
        now = trio.current_time()
        if not (_lasts(absence) or absence.is_silent) or now >= absence.try_at:
            absence.try_at = now + _TRY_EVERY_S
            return None
        return self._judged(absence)

    def keep(self, places: set[Place]) -> None:
        """Forget nodes that have left the cluster."""
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
