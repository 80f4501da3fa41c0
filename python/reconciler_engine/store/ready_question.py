"""The question to Redis whether the last closed bars of a series are complete and verified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypedDict

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.planning.ledger import Finding
from reconciler_engine.planning.states import obstacle_of
from reconciler_engine.planning.verification import DEFAULT_MAX_UNVERIFIED_MS
from reconciler_engine.planning.window import DEFAULT_GRACE_MS
from reconciler_engine.store.client.reply_shapes import understanding, whole
from reconciler_engine.store.client.scripts import Script, ScriptCall
from reconciler_engine.store.findings import decode_finding
from reconciler_engine.store.scope import Layout, Scope

_RULES = Script.load("reconciler_engine", "limiting/origin.lua", "store/lua/candle.lua").text
_HEAD, _, _BODY = Script.load("reconciler_engine.store", "lua/ready.lua").text.partition("\n\n")

READY_TEXT: Final = f"{_HEAD}\n\n{_RULES}\n{_BODY}"
"""Text of the ready gate's script, for any program that can send EVAL. It takes one key and only reads. Its first lines
describe arguments and reply; the rule for a candle follows them."""

_READY: Final = Script(READY_TEXT, "ready.lua")

MAX_BARS: Final = 10_000
"""Most bars of one question. The server examines them in 40 to 80 ms, and serves no other client meanwhile."""

Unverified = int | Literal["any"]
"""How long after its close a bar may stay unverified (ms); `any` for no limit."""


class ReadyOptions(TypedDict, total=False):
    """Options of a question; the docstring of `is_ready` explains them."""

    user_id: int
    exchange_id: int
    layout: str
    grace_ms: int
    max_unverified_ms: Unverified
    young_ms: int
    members: bool


class SlotCount(NamedTuple):
    """Slots that are not ready for one reason.

    Attributes:
        slots: Number of slots.
        first: Open time of the oldest of them (ms UTC); None without any.
    """

    slots: int
    first: int | None


@dataclass(frozen=True, slots=True)
class Readiness:
    """State of the last closed bars of a series at one instant. A slot that is not ready counts under one reason only.

    Attributes:
        is_ready: Whether all slots are ready and `lacking` is 0.
        window: Slots of the bars, half-open (ms UTC); with `members`, from the oldest of the members asked for.
        ready_until: End of the ready slots at the beginning of the window (ms UTC).
        reason: Why the oldest unready slot is not ready, or that there are too few members; None if `is_ready`.
        confirmed: Number of slots without a candle that the exchange has shown to have none.
        unverified: Number of slots whose candle is neither suspect nor verified, those in `overdue` included.
        lacking: Number of members asked for but not found; 0 without `members`.
        missing: Slots without a candle that are not confirmed.
        suspect: Slots whose candle differs from the exchange's.
        malformed: Slots with a member that is not a candle.
        overdue: Slots whose candle is unverified for longer than allowed.
        complete_from: First instant from which on each slot is confirmed or has a candle that is not suspect (ms UTC).
        ready_from: First instant from which on all slots are ready (ms UTC).
        finding: Finding on the oldest unready slot, or None.
        at: The instant, by Redis' clock (ms UTC).
    """

    is_ready: bool
    window: Interval
    ready_until: int
    reason: str | None
    confirmed: int
    unverified: int
    lacking: int
    missing: SlotCount
    suspect: SlotCount
    malformed: SlotCount
    overdue: SlotCount
    complete_from: int
    ready_from: int
    finding: Finding | None = field(default=None, compare=False)
    at: int = field(default=0, compare=False)

    @property
    def in_the_way(self) -> int:
        """Number of slots that are not ready, plus `lacking`."""
        counts = (self.missing, self.suspect, self.malformed, self.overdue)
        return self.lacking + sum(count.slots for count in counts)


class ReadyQuestion:
    """A question about the newest closed bars of one series."""

    def __init__(
        self,
        symbol: str,
        timeframe: str | Timeframe,
        bars: int,
        *,
        user_id: int = 1,
        exchange_id: int = 1,
        layout: str = Layout.USER,
        grace_ms: int = DEFAULT_GRACE_MS,
        max_unverified_ms: Unverified = DEFAULT_MAX_UNVERIFIED_MS,
        young_ms: int = 0,
        members: bool = False,
    ) -> None:
        if not _is_whole(bars) or not 1 <= bars <= MAX_BARS:
            raise ValueError(f"bars {bars!r} is not allowed; allowed: a whole number from 1 to {MAX_BARS}")
        durations = {"grace_ms": grace_ms, "max_unverified_ms": max_unverified_ms, "young_ms": young_ms}
        for name, value in durations.items():
            can_be_any = name == "max_unverified_ms"
            if not (_is_whole(value) and int(value) >= 0) and not (can_be_any and value == "any"):
                allowed = f"a whole number of ms from 0{', or any' if can_be_any else ''}"
                raise ValueError(f"{name} {value!r} is not allowed; allowed: {allowed}")
        if layout not in [*Layout]:
            raise ValueError(f"layout {layout!r} is not allowed; allowed: {', '.join(Layout)}")
        self.series = Series(symbol, timeframe if isinstance(timeframe, Timeframe) else Timeframe.parse(timeframe))
        self._scope = Scope(user_id, exchange_id, "", Layout(layout))
        self.bars = bars
        self.grace_ms, self.max_unverified_ms = grace_ms, max_unverified_ms
        self._keys = (self._scope.candle_key(self.series), self._scope.evidence_key(self.series))
        self._args = (bars, *durations.values(), "members" if members else "slots")

    @property
    def repaired_channel(self) -> str:
        """The channel on which repairs of the series are announced."""
        return self._scope.repaired_channel(self.series)

    def call(self, *, detail: bool) -> ScriptCall:
        """Return the call of the script. Its reply is for `read_detail` if `detail` is set, else for `read_answer`."""
        return _READY.call(self._keys, (*self._args, "detail") if detail else self._args)

    def read_answer(self, reply: Any) -> bool:
        """Return whether the bars are ready, by a reply without detail.

        Raises:
            StoreError: The script never gives this reply.
        """
        with understanding(f"the bars of {self.series}"):
            return whole(reply, 0, 1) == 1

    def read_detail(self, reply: Any) -> Readiness:
        """Return the state of the bars, by a reply in detail.

        Raises:
            StoreError: The script never gives this reply.
        """
        with understanding(f"the bars of {self.series}"):
            return _readiness(reply)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _readiness(answer: Any) -> Readiness:
    """Parse the list that the script returns in detail."""
    yes, start, stop, ready_until, kind, confirmed, unverified, lacking, *counts = answer[:-4]
    finding, complete_from, ready_from, at = answer[-4:]
    missing, suspect, malformed, overdue = (
        SlotCount(slots, None if first < 0 else first) for slots, first in zip(counts[::2], counts[1::2], strict=True)
    )
    found = decode_finding(finding) if finding else None
    return Readiness(
        yes == 1,
        Interval(start, stop),
        ready_until,
        _reason(kind.decode(), found),
        confirmed,
        unverified,
        lacking,
        missing,
        suspect,
        malformed,
        overdue,
        complete_from,
        ready_from,
        found,
        whole(at),
    )


def _reason(kind: str, finding: Finding | None) -> str | None:
    """Return the reason why a slot is not ready: that of its finding if it explains this state, else a general one."""
    plain = {"missing": Obstacle.NOT_ASKED, "suspect": Obstacle.DOUBTED}
    if kind not in plain:
        return kind or None
    obstacle = obstacle_of(finding)
    return obstacle if obstacle is not None and obstacle.state == kind else plain[kind]
