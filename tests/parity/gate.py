"""The ready gate asked in each of its ways, and its rules in Python, by which its answers are judged."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler_engine.detection.members import check_members
from reconciler_engine.engine.ready import examine, is_ready
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.planning.hand_marks import is_accepted
from reconciler_engine.planning.ledger import Reason, State
from reconciler_engine.planning.states import obstacle_of
from reconciler_engine.planning.window import MEMBERS_REACH
from reconciler_engine.store.evidence_fields import decode_fields
from reconciler_engine.store.ready_question import READY_TEXT, Readiness, SlotCount
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import decode_blocks, digest_of

PLAIN = {"missing": "not asked for", "suspect": "doubted"}


@dataclass(frozen=True)
class Question:
    """A question about the bars before `stop`.

    Attributes:
        bars: Number of slots, or of members.
        stop: First instant after the newest closed bar.
        unverified: How many of the newest slots may be unverified; None for any.
        young: How many of the newest slots may be absent.
        members: Whether the newest members are asked about.
    """

    bars: int
    stop: int
    unverified: int | None = None
    young: int = 0
    members: bool = False


@dataclass
class Cache:
    """A series as it lies in the cache."""

    members: Mapping[bytes, int] = field(default_factory=dict)
    fields: Mapping[str, bytes] = field(default_factory=dict)

    def lay_out(self, server, scope, series):
        key, evidence = scope.candle_key(series), scope.evidence_key(series)
        server.delete(key, evidence)
        if self.members:
            server.zadd(key, self.members)
        if self.fields:
            server.hset(evidence, mapping=self.fields)


def grace_for(stop, step):
    """The grace with which the bar before `stop` is the newest closed one, for half a bar from now on."""
    return time.time_ns() // 1_000_000 - stop - step // 2


def ask_gate(server, scope: Scope, series: Series, question: Question) -> Readiness:
    """Ask by the script, by its list and by Python, until all were asked of the same bars; they must agree."""
    step = series.timeframe.step_ms
    while True:
        grace = grace_for(question.stop, step)
        # The newest bar closed half a bar more than the grace ago.
        unverified = "any" if question.unverified is None else grace + question.unverified * step
        young = grace + question.young * step if question.young else 0
        form = "members" if question.members else "slots"
        words = (question.bars, grace, unverified, young, form)
        plain = server.execute_command("EVAL", READY_TEXT, 1, scope.candle_key(series), *words)
        options = {
            "grace_ms": grace, "layout": scope.layout, "max_unverified_ms": unverified, "young_ms": young,
            "members": question.members,
        }  # fmt: skip
        asked = (server, series.symbol, series.timeframe, question.bars)
        python = is_ready(*asked, **options)
        told: Readiness = examine(*asked, **options)
        if grace_for(question.stop, step) - grace < step // 2 and told.window.stop == question.stop:
            assert (plain, python) == (int(told.is_ready), told.is_ready)
            return told


def judge(cache: Cache, series: Series, question: Question) -> Readiness:
    """Say what the gate must say: its rules, by the library's own readers of what lies in the cache."""
    step, stop = series.timeframe.step_ms, question.stop
    everything = sorted((score, member) for member, score in cache.members.items())
    pairs = [(score, member) for score, member in everything if score < stop]
    newer = [(score, member) for score, member in everything if score >= stop] if question.members else []
    start, lacking = stop - question.bars * step, 0
    if question.members:
        pairs = [(score, member) for score, member in pairs if score >= stop - MEMBERS_REACH * question.bars * step]
        lacking = max(0, question.bars - len(pairs))
        start = pairs[-min(question.bars, len(pairs))][0] // step * step if pairs else stop
    pairs = [(score, member) for score, member in pairs if score >= start]
    found, found_newer = (
        check_members(
            [text for score, member in some for text in (member, str(score).encode())],
            series.symbol, series.timeframe.value, step,
        )
        for some in (pairs, newer)
    )  # fmt: skip
    candles, strange = set(found.timestamps) - set(found.fillers), set(found.malformed)
    known = decode_fields(series, {name: body for name, body in cache.fields.items() if not name.startswith("v")})
    blocks = {name: body for name, body in cache.fields.items() if name.startswith("v")}
    digests = {(slot, noted.digest) for slot, noted in decode_blocks(blocks, step).items()}
    crowds = Counter(score // step * step for score, _ in pairs)
    accepted = {score for score, member in pairs if is_accepted(known, score, member)}
    verified = {
        score
        for score, member in pairs
        if crowds[score] == 1 and score in candles and (score in accepted or (score, digest_of(member)) in digests)
    }

    def kind_of(slot):
        newer = (stop - slot) // step - 1
        finding = known.ledger.at(slot)
        if slot not in candles and (finding is None or not finding.is_confirmed):
            is_known = known.exists.holds(slot) or (finding is not None and finding.reason is Reason.ROW_UNUSABLE)
            if newer >= question.young or is_known:
                return "missing"
        is_suspect = finding is not None and finding.state is State.SUSPECT
        if slot in candles and is_suspect and slot not in accepted:
            return "suspect"
        if slot in strange:
            return "not a candle"
        too_old = question.unverified is not None and newer >= question.unverified
        return "unverified" if slot in candles - verified and too_old else None

    slots = range(start, stop, step)
    kinds = {slot: kind for slot in slots if (kind := kind_of(slot))}
    if found_newer.malformed:
        kinds[stop] = "not a candle"
    first = min(kinds, default=stop)
    confirmed = known.ledger.confirmed(Interval(start, stop))
    doubted = {slot for slot, kind in kinds.items() if kind == "suspect"}

    def count(kind):
        found = [slot for slot in kinds if kinds[slot] == kind]
        return SlotCount(len(found), min(found, default=None))

    return Readiness(
        is_ready=not kinds and not lacking,
        window=Interval(start, stop),
        ready_until=start if lacking else first,
        reason="fewer members" if lacking else words_for(kinds.get(first), known.ledger.at(first)),
        confirmed=sum(confirmed.holds(slot) for slot in slots if slot not in candles),
        unverified=len(candles - verified - doubted),
        lacking=lacking,
        missing=count("missing"),
        suspect=count("suspect"),
        malformed=count("not a candle"),
        overdue=count("unverified"),
        complete_from=max((slot for slot in kinds if kinds[slot] != "unverified"), default=start - step) + step,
        ready_from=max(kinds, default=start - step) + step,
    )


def words_for(kind, finding):
    if kind not in ("missing", "suspect"):
        return kind
    obstacle = obstacle_of(finding)
    return obstacle if obstacle is not None and obstacle.state == kind else PLAIN[kind]
