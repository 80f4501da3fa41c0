"""Checks of a history: each returns the faults it found, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tests.chaos.invariants import budget_excess
from tests.histories.history import FEEDER, Call, History, plan_of

from reconciler_engine.limiting.permit_steps import Reply
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.rules.request_log import RequestLog


class Request(NamedTuple):
    """A request that the exchange had: about which series, and when it was answered (s UTC)."""

    symbol: str
    timeframe: str
    at: float


def minutes_asked(log: RequestLog) -> list[Request]:
    """Return the requests for candles that an exchange had, all of them for bars of a minute."""
    records = [one for one in log.records if one.path.endswith("/candles")]
    assert {one.granularity for one in records} <= {Timeframe.M1.granularity}
    return [Request(str(one.product), Timeframe.M1.value, one.time_ms / 1_000) for one in records]


def check_all(history: History, requests: Sequence[Request], *, per_s: int, late_s: float) -> list[str]:
    """Make every check; late_s is how late (s) permits may be used."""
    return [
        *check_epochs(history),
        *check_authority(history),
        *check_claims(history),
        *check_slots(history),
        *check_answers(history, requests),
        *check_budget(history, per_s, late_s),
    ]


def check_epochs(history: History) -> Iterator[str]:
    """Each taking of a lease has a greater epoch than those before it, after losses too."""
    takes = [call for call in history.of("lease.lua", "take") if call.is_ok and call.reply]
    for before, after in pairwise(takes):
        if before.keys[0] == after.keys[0] and before.is_before(after) and before.reply[0] >= after.reply[0]:
            yield f"{after.process} took {after.keys[0]} with epoch {after.reply[0]} after {before.reply[0]}"


def check_authority(history: History) -> Iterator[str]:
    """Nothing is done for a run after a later epoch has its job, nor merged where that had been asked after it."""
    yield from _superseded_directors(history)
    yield from _superseded_merges(history)


def _superseded_directors(history: History) -> Iterator[str]:
    takes = [call for call in history.of("lease.lua", "take") if call.is_ok and call.reply]
    for call in history.of("run.lua"):
        if not call.is_ok or call.reply == "stale" or call.args[1] == "0":
            continue
        for take in takes:
            if (
                take.keys[1] == call.keys[4]
                and take.reply[0] > int(call.args[1])
                and take.is_before(call)
                and not history.parted(take, call)
            ):
                yield f"{call.process} did {call.args[0]} under epoch {call.args[1]}, superseded by {take.reply[0]}"


def _superseded_merges(history: History) -> Iterator[str]:
    opened = {call.args[3]: call for call in history.of("run.lua", "open") if call.is_ok and call.reply == 1}
    later = [call for call in opened.values() if call.args[1] != "0"]
    questions = defaultdict[tuple[str, str], list[Call]](list)
    for call in history.of("open.lua"):
        questions[call.process, call.args[0]].append(call)
    for merge in history.of("merge.lua"):
        run = plan_of(merge)["by"]
        mine = opened.get(run)
        if mine is None or mine.args[1] == "0":
            continue
        # Another of its tasks may have been told meanwhile that the run is over.
        asked = [one for one in questions[merge.process, run] if one.is_before(merge) and one.reply == 1]
        if not asked:
            yield f"{merge.process} merged for {run} without having asked whether that is open"
            continue
        for other in later:
            superseded = other.keys[4] == mine.keys[4] and int(other.args[1]) > int(mine.args[1])
            if superseded and other.is_before(asked[-1]) and not history.parted(other, merge):
                yield f"{merge.process} merged for {run}, which {other.args[3]} had superseded"


def _claims_in_order(history: History) -> list[Call]:
    """Return the calls about claims as they may have taken effect: a claim as late, a release as soon as can be."""
    return sorted(history.of("claim.lua"), key=lambda one: one.began if one.args[0] == "release" else one.ended)


def check_claims(history: History) -> Iterator[str]:
    """No slot is claimed by two at a time."""
    held: dict[tuple[str, str], list[Call]] = {}
    for call in _claims_in_order(history):
        action, token, start, stop = call.args[:4]
        if action == "release":
            held.pop((call.keys[0], token), None)
        elif call.is_ok and call.reply[0] == 1:
            void, life_s = call.args[6], int(call.args[5]) / 1_000
            held.pop((call.keys[0], void), None)
            for (key, other), claims in held.items():
                if key != call.keys[0] or other == token:
                    continue
                for one in claims:
                    overlap = int(one.args[2]) < int(stop) and int(start) < int(one.args[3])
                    lives = call.ended < one.began + life_s and one.is_before(call)
                    if overlap and lives and not history.parted(one, call):
                        yield f"{token} claimed {start}..{stop}, which {other} held"
            held.setdefault((call.keys[0], token), []).append(call)


def check_slots(history: History) -> Iterator[str]:
    """A candle gives way only by its name: a merge that replaced one named what the last write had put there."""
    all_writes = _writes(history)
    for merge in history.of("merge.lua"):
        plan = plan_of(merge)
        named = dict(zip(plan["yielding"], merge.args[1 + 2 * plan["candles"] :], strict=False))
        for slot, _, outcome in _outcomes(merge):
            writes = [one for one in all_writes[merge.keys[0], slot] if one[0] is not merge]
            before = [one for one in writes if one[0].is_before(merge) and not history.parted(one[0], merge)]
            beside = [one for one in writes if not one[0].is_before(merge) and not merge.is_before(one[0])]
            if outcome in "CI" and before and not beside:
                last = max(before, key=lambda one: one[0].ended)[1]
                if outcome == "C" and named.get(slot) != last:
                    yield f"{merge.process} replaced {last} at {slot}, and had named {named.get(slot)}"
                if outcome == "I" and last:
                    yield f"{merge.process} inserted at {slot}, where there was {last}"


def _writes(history: History) -> dict[tuple[str, int], list[tuple[Call, str]]]:
    """Return every write by key and slot, with the member that it put there."""
    writes = defaultdict[tuple[str, int], list[tuple[Call, str]]](list)
    for call in history.of(FEEDER):
        writes[call.keys[0], int(call.args[0])].append((call, call.args[1]))
    for merge in history.of("merge.lua"):
        for slot, member, outcome in _outcomes(merge):
            if outcome in "CI":
                writes[merge.keys[0], slot].append((merge, member))
    return writes


def _outcomes(merge: Call) -> Iterator[tuple[int, str, str]]:
    """Yield what a merge offered: slot, member, and the letter of what became of it."""
    if merge.is_ok and merge.reply[0] == "done":
        pairs = merge.args[1 : 1 + 2 * plan_of(merge)["candles"]]
        for at, member, outcome in zip(pairs[::2], pairs[1::2], merge.reply[1], strict=True):
            yield int(at), member, outcome


def count_takeovers(history: History) -> int:
    """Count the claims that went to another process, or to another task, before they were given up."""
    taken_over, holders = 0, dict[tuple[str, str], Call]()
    for call in _claims_in_order(history):
        place = (call.keys[0], call.args[1])
        if call.args[0] == "release":
            holders.pop(place, None)
        elif call.is_ok and call.reply[0] == 1:
            taken_over += place in holders and holders[place].process != call.process
            void = call.args[6] if len(call.args) > 6 else ""
            taken_over += holders.pop((call.keys[0], void), None) is not None
            holders[place] = call
    return taken_over


def check_answers(history: History, requests: Sequence[Request]) -> Iterator[str]:
    """Evidence of an answer is written only after the exchange gave one about that series."""
    for merge in history.of("merge.lua"):
        plan = plan_of(merge)
        at = plan["verified_at"]
        if not at or not (plan["fields"] or plan["verified"]):
            continue
        given = [one for one in requests if (one.symbol, one.timeframe) == (plan["symbol"], plan["timeframe"])]
        if not any(abs(one.at - at) <= ANSWER_S for one in given):
            yield f"{merge.process} noted evidence of {plan['symbol']}:{plan['timeframe']} without an answer of {at}"


ANSWER_S = 5.0
"""An answer takes so long at most (s), and clocks of one machine agree."""


def check_budget(history: History, per_s: int, late_s: float) -> Iterator[str]:
    """No more permits than the budget in any window, over every loss."""
    times = [call.ended for call in history.of("token_bucket.lua") if call.is_ok and _is_permit(call)]
    excess = budget_excess(times, per_s, late_s)
    if excess > 1:
        yield f"{excess:.1f} permits beyond the budget in a window"


def _is_permit(call: Call) -> bool:
    reply: Any = call.reply
    if call.args[0] == "confirm":
        return bool(reply[0] == Reply.GRANTED)
    return call.args[0] == "reserve" and reply[0] == Reply.GRANTED and reply[1] == 0
