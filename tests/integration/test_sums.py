"""Candles that follow from finer ones: verified without a request, and none of them that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
from tests.integration.engines import MARKET, MINUTE, Engine, engine, truth
from tests.integration.rewritten_market import RewrittenMarket

from reconciler_engine.engine.forecast import forecast
from reconciler_engine.engine.pass_words import in_words
from reconciler_engine.engine.passes import verify_round
from reconciler_engine.engine.passes.sum_proofs import SumProofs
from reconciler_engine.engine.scheduled_passes import VERIFY, ScheduledPasses
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.metrics import figures
from reconciler_engine.planning.hand_marks import accept, digest_of
from reconciler_engine.planning.ledger import Finding, Knowledge, Reason, State
from reconciler_engine.planning.verification import DEFAULT_SETTLE_MS
from reconciler_engine.store.journal import Journal, Why
from reconciler_engine.store.members import member_of
from reconciler_engine.store.verified_fields import digest_of as verified_digest_of

NOW = 1_735_776_000_000 + 26 * MINUTE + 5_000
"""2025-01-02T00:26:05Z: bars of all timeframes closed at midnight are due since a minute."""

MIDNIGHT = NOW - 26 * MINUTE - 5_000
SIX = ("1m", "5m", "15m", "1h", "4h", "1d")
HOUR = 60 * MINUTE


def all_series(*timeframes: str) -> list[Series]:
    return [Series("BTC-USD", Timeframe(one)) for one in timeframes or SIX]


def candle_of(at: int, values: Sequence[float]) -> Candle:
    open_, high, low, close, volume = values
    return Candle(at, open_, high, low, close, volume)


class Ladder:
    """A cache of one symbol in several timeframes, full from midnight two days ago, and the verify run over it."""

    def __init__(self, run: Engine, series: Sequence[Series]) -> None:
        self.run = run
        self.now = NOW
        self.series = series
        self.passes = ScheduledPasses(run.parts, series, now=lambda: self.now)

    async def fill(self, since: int) -> None:
        """Write the bars that opened since an instant (ms UTC) and have closed, and those that were open then."""
        await self.run.turn_to(self.now)
        for one in self.series:
            bars = truth(one, Interval(one.timeframe.floor(since), one.timeframe.floor(self.now)))
            await self.run.put(one, *(candle_of(at, values) for at, values in bars.items()))

    async def spoil(self, series: Series, at: int, field: str = "volume", by: float = 0.0001) -> None:
        """Write another value into one bar."""
        ((_, values),) = truth(series, Interval(at, at + series.timeframe.step_ms)).items()
        right = candle_of(at, values)
        wrong = replace(right, **{field: round(getattr(right, field) + by, 8)})
        await self.run.parts.client.zremrangebyscore(self.run.key(series), at, at)
        await self.run.put(series, wrong)

    async def verify(self, minutes: float = 0, *, fed: bool = False) -> ReconciliationResult:
        before = self.now
        self.now += round(minutes * MINUTE)
        await self.run.turn_to(self.now)
        if fed:
            await self.fill(before)
        return await self.passes.perform(VERIFY)

    async def noted(self, series: Series, bars: int) -> set[int]:
        """The open times among the newest settled bars that are noted as verified."""
        step = series.timeframe.step_ms
        stop = series.timeframe.floor(self.now - DEFAULT_SETTLE_MS)
        slots = Interval(stop - bars * step, stop)
        return {at for at in await self.run.parts.evidence.verified(series, slots) if at in slots}

    def requests(self, since: int = 0) -> dict[str, int]:
        """Requests of candles by timeframe."""
        names = {one.timeframe.granularity: one.timeframe.value for one in self.series}
        found = dict.fromkeys(names.values(), 0)
        for record in list(self.run.exchange.log.records)[since:]:
            if record.product == "BTC-USD" and record.granularity in names:
                found[names[record.granularity]] += 1
        return found


@pytest.fixture
def no_audits(monkeypatch):
    monkeypatch.setattr(verify_round, "is_audited", lambda *_: False)


async def catch_up(ladder: Ladder) -> None:
    """Verify a day up to four hours before midnight, then let the clock show `NOW`."""
    await ladder.fill(MIDNIGHT - 24 * HOUR)
    ladder.now = MIDNIGHT - 4 * HOUR + 15 * MINUTE
    for _ in range(8):
        await ladder.verify(1)
    ladder.now = NOW


@pytest.mark.usefixtures("no_audits")
async def test_one_request_for_minutes_verifies_what_closed_in_every_timeframe(redis_url):
    async with engine(redis_url) as run:
        ladder = Ladder(run, all_series())
        await catch_up(ladder)
        before, sent = {one: await ladder.noted(one, 300) for one in ladder.series}, sum(ladder.requests().values())
        counted = figures().get("summed_candles_total|verified", [0])[0]
        done = await ladder.verify()
        assert figures()["summed_candles_total|verified"][0] - counted == done.by_sum
        assert ladder.requests(sent) == {"1m": 1, "5m": 0, "15m": 0, "1h": 0, "4h": 0, "1d": 0}
        new = {one: len(await ladder.noted(one, 300) - before[one]) for one in ladder.series}
        assert (done.requests, done.newly_verified, done.by_sum) == (
            1,
            sum(new.values()),
            sum(new.values()) - new[ladder.series[0]],
        )
        for one, bars in zip(ladder.series, (240, 48, 16, 4, 1, 1), strict=True):
            assert len(await ladder.noted(one, bars)) == bars, one
        again = await ladder.verify()
        assert (again.requests, again.newly_verified) == (0, 0)


async def test_the_plan_of_the_verify_run_leaves_out_what_follows_from_finer_bars(redis_url):
    async with engine(redis_url) as run:
        ladder = Ladder(run, all_series())
        await catch_up(ladder)
        await run.turn_to(ladder.now)
        sent = sum(ladder.requests().values())
        (planned,) = (one for one in (await forecast(run.parts, ladder.series)).jobs if one.job == VERIFY)
        await ladder.verify()
        assert sum(ladder.requests(sent).values()) == planned.requests >= 1


@pytest.mark.usefixtures("no_audits")
@pytest.mark.parametrize(
    ("field", "by"), [("open", 0.01), ("high", 0.01), ("low", -0.01), ("close", 0.01), ("volume", 0.0001)]
)
async def test_a_wrong_bar_beside_right_minutes_is_asked_for(redis_url, field, by):
    async with engine(redis_url) as run:
        ladder = Ladder(run, all_series("1m", "5m", "15m"))
        await catch_up(ladder)
        await ladder.spoil(ladder.series[1], MIDNIGHT - 40 * MINUTE, field, by)
        sent = sum(ladder.requests().values())
        done = await ladder.verify()
        # The quarter of an hour around it follows from the repaired one; one that is to lose volume waits for that.
        is_repaired = field != "volume"
        assert ladder.requests(sent) == {"1m": 1, "5m": 1, "15m": int(not is_repaired)}
        assert (done.mismatched, done.repaired) == (1, int(is_repaired))


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_planted_wrong_bar_is_noted_as_verified(redis_url, seed):
    async with engine(redis_url) as run:
        ladder, random = Ladder(run, all_series()), Random(seed)
        await catch_up(ladder)
        planted = {}
        for one in ladder.series:
            step, stop = one.timeframe.step_ms, one.timeframe.floor(ladder.now - DEFAULT_SETTLE_MS)
            bars = max(4 * HOUR // step, 1)
            for age in random.sample(range(1, bars + 1), min(bars, 6)):
                at = stop - age * step
                ((_, values),) = truth(one, Interval(at, at + step)).items()
                # Of any size, down to the least that makes bars unlike.
                await ladder.spoil(one, at, by=max(values[-1] * random.choice([3e-8, 1e-6, 1e-3, 0.2]), 1e-7))
                (member,) = await run.parts.client.execute_command("ZRANGEBYSCORE", run.key(one), at, at)
                planted[one, at] = verified_digest_of(member)
        done = await ladder.verify()
        assert done.mismatched >= len(planted) / 2
        for (one, at), digest in planted.items():
            noted = await run.parts.evidence.verified(one, Interval(at, at + one.timeframe.step_ms))
            assert at not in noted or noted[at].digest != digest, (one, at)


@pytest.mark.usefixtures("no_audits")
async def test_nothing_follows_from_wrong_minutes_that_cancel_each_other(redis_url):
    async with engine(redis_url) as run:
        ladder = Ladder(run, all_series("1m", "5m"))
        await catch_up(ladder)
        minutes, at = ladder.series[0], MIDNIGHT - 40 * MINUTE
        await ladder.spoil(minutes, at + MINUTE, by=0.01)
        await ladder.spoil(minutes, at + 2 * MINUTE, by=-0.01)
        done = await ladder.verify()
        assert done.mismatched == 2
        right = truth(minutes, Interval(at, at + 5 * MINUTE))
        held = await run.held(minutes, Interval(at, at + 5 * MINUTE))
        noted = await ladder.noted(minutes, 300)
        # The one that is to lose volume waits for a second answer; until then it shows nothing.
        assert (
            [one for one in right if held[one] != right[one]]
            == [one for one in right if one not in noted]
            == [at + MINUTE]
        )
        assert at in await ladder.noted(ladder.series[1], 300)
        assert ladder.requests()["5m"] == 2


def disagreeing(at: int, by: float = 0.5) -> RewrittenMarket:
    """The market, but of one 5m bar the exchange has another volume than its minutes add up to."""
    series = Series("BTC-USD", Timeframe.M5)
    ((_, values),) = truth(series, Interval(at, at + 5 * MINUTE)).items()
    return RewrittenMarket(MARKET, {("BTC-USD", Timeframe.M5, at): str(round(values[-1] + by, 8))})


async def told(ladder: Ladder) -> list[tuple[Why, int]]:
    changes = await Journal(ladder.run.parts.client, ladder.run.parts.scope).read(ladder.series, since=0, limit=100)
    return [(one.why, one.start) for one in changes if one.why is Why.DISAGREES]


@pytest.mark.usefixtures("no_audits")
async def test_an_exchange_that_disagrees_with_itself_is_told_once_after_second_answers(redis_url, caplog):
    at = MIDNIGHT - 40 * MINUTE
    async with engine(redis_url, market=disagreeing(at)) as run:
        ladder = Ladder(run, all_series("1m", "5m"))
        await catch_up(ladder)
        await ladder.spoil(ladder.series[1], at, by=0.5)
        done = await ladder.verify()
        assert (done.requests, done.mismatched) == (2, 0)
        # Verified by its answer, and nothing is told yet.
        assert at in await ladder.noted(ladder.series[1], 48)
        await ladder.verify(59, fed=True)
        assert await told(ladder) == []
        sent = sum(ladder.requests().values())
        await ladder.verify(2, fed=True)
        assert ladder.requests(sent) == {"1m": 1, "5m": 1}
        assert await told(ladder) == [(Why.DISAGREES, at)]
        assert sum("disagrees with itself" in one.message for one in caplog.records) == 1
        assert at in await ladder.noted(ladder.series[1], 70)
        sent = sum(ladder.requests().values())
        for _ in range(3):
            await ladder.verify(1, fed=True)
        assert sum(ladder.requests(sent).values()) == 0
        assert await told(ladder) == [(Why.DISAGREES, at)]


@pytest.mark.usefixtures("no_audits")
async def test_nothing_is_told_of_a_bar_that_the_exchange_has_put_right_within_the_hour(redis_url):
    at = MIDNIGHT - 40 * MINUTE
    market = disagreeing(at)
    async with engine(redis_url, market=market) as run:
        ladder = Ladder(run, all_series("1m", "5m"))
        await catch_up(ladder)
        await ladder.spoil(ladder.series[1], at, by=0.5)
        await ladder.verify()
        market.rewritten.clear()
        for minutes in (61, 6, 6):
            await ladder.verify(minutes)
        assert await told(ladder) == []
        held = await run.held(ladder.series[1], Interval(at, at + 5 * MINUTE))
        assert held == truth(ladder.series[1], Interval(at, at + 5 * MINUTE))


async def test_an_audited_page_is_asked_for_though_sums_agree_and_counts_differences(redis_url, monkeypatch):
    monkeypatch.setattr(verify_round, "is_audited", lambda series, _: series.timeframe is Timeframe.M5)
    at = MIDNIGHT - 40 * MINUTE
    async with engine(redis_url, market=disagreeing(at)) as run:
        ladder = Ladder(run, all_series("1m", "5m", "15m"))
        await catch_up(ladder)
        sent = sum(ladder.requests().values())
        done = await ladder.verify()
        # The quarter of an hour is not the sum of the repaired bar and its fellows.
        assert ladder.requests(sent) == {"1m": 1, "5m": 1, "15m": 1}
        assert (done.mismatched, done.repaired, done.wrong_sums) == (1, 1, 1)
        assert "1 wrong bar: 1 repaired, 1 of them though the sums of finer bars agreed" in in_words(done)


@dataclass
class Cell:
    """Five minutes of the symbol and their 5m bar in an empty cache, the minutes verified."""

    run: Engine
    at: int = MIDNIGHT

    @property
    def minutes(self) -> Series:
        return Series("BTC-USD", Timeframe.M1)

    @property
    def five(self) -> Series:
        return Series("BTC-USD", Timeframe.M5)

    async def put(self, *leave_out: int) -> None:
        """Write bars and digests; those minutes are left out, and so is what they add to the 5m bar."""
        parts, span = self.run.parts, Interval(self.at, self.at + 5 * MINUTE)
        kept = {at: one for at, one in truth(self.minutes, span).items() if (at - self.at) // MINUTE not in leave_out}
        opens, highs, lows, closes, volumes = zip(*kept.values(), strict=True)
        sum_ = Candle(self.at, opens[0], max(highs), min(lows), closes[-1], round(sum(volumes), 8))
        await self.run.put(self.five, sum_)
        await self.run.put(self.minutes, *(candle_of(at, one) for at, one in kept.items()))
        members = {at: member_of(self.minutes, candle_of(at, one)).encode() for at, one in kept.items()}
        await parts.evidence.note_sums(self.minutes, members, parts.retention, at=NOW, by="test")

    async def find(self, minute: int, *finding: Any) -> None:
        """Note a finding about one of the minutes."""
        slot = Interval(self.at + minute * MINUTE, self.at + (minute + 1) * MINUTE)

        def revise(known: Knowledge) -> Knowledge:
            return known._replace(ledger=known.ledger.revise(Intervals([slot]), lambda _: Finding(*finding)))

        await self.run.parts.evidence.change(self.minutes, slot, self.run.parts.retention, revise)

    async def agrees(self) -> bool | None:
        """Whether the 5m bar agrees with its sum; None where none can be had."""
        slot = Intervals([Interval(self.at, self.at + 5 * MINUTE)])
        found = await self.run.parts.second_looks.sums.compare(self.five, slot)
        return found[self.at].agrees if found else None


@pytest.mark.parametrize(
    ("finding", "agrees"),
    [
        (None, None),
        ((State.EMPTY, Reason.WITH_REFERENCE, NOW, NOW, 2, None), True),
        # the recheck after six hours is still to come
        ((State.EMPTY, Reason.WITH_REFERENCE, NOW, NOW, 2, NOW + HOUR), None),
        ((State.EMPTY, Reason.BY_HAND, NOW, NOW, 1, None), None),
        ((State.MISSING, Reason.ABSENT_ONCE, NOW, NOW, 1, NOW), None),
    ],
)
async def test_a_sum_over_a_minute_without_a_bar_counts_once_that_is_settled(redis_url, finding, agrees):
    async with engine(redis_url) as run:
        cell = Cell(run)
        await cell.put(2)
        if finding is not None:
            await cell.find(2, *finding)
        assert await cell.agrees() is agrees


async def test_no_sum_is_had_over_a_minute_in_doubt_changed_or_accepted_by_hand(redis_url):
    async with engine(redis_url) as run:
        cell = Cell(run)
        await cell.put()
        assert await cell.agrees() is True
        await cell.find(3, State.SUSPECT, Reason.VALUES_DIFFER, NOW, NOW, 1, NOW)
        assert await cell.agrees() is None
        cell = Cell(run, MIDNIGHT + 5 * MINUTE)
        await cell.put()
        at = cell.at + MINUTE
        ((_, values),) = truth(cell.minutes, Interval(at, at + MINUTE)).items()
        changed = replace(candle_of(at, values), sequence_num=7)
        await run.parts.client.zremrangebyscore(run.key(cell.minutes), at, at)
        await run.put(cell.minutes, changed)
        assert await cell.agrees() is None
        digests = {at: digest_of(member_of(cell.minutes, changed).encode())}
        await run.parts.evidence.change(
            cell.minutes,
            Interval(at, at + MINUTE),
            run.parts.retention,
            lambda known: accept(known, Intervals([Interval(at, at + MINUTE)]), digests, 0),
        )
        assert await cell.agrees() is None


async def test_a_bar_that_changes_while_its_sum_is_had_is_not_noted(redis_url):
    async with engine(redis_url) as run:
        cell, sums = Cell(run), run.parts.second_looks.sums
        await cell.put()
        slot = Intervals([Interval(cell.at, cell.at + 5 * MINUTE)])
        found = await sums.compare(cell.five, slot)
        ((_, values),) = truth(cell.five, slot.hull).items()
        await run.parts.client.zremrangebyscore(run.key(cell.five), cell.at, cell.at)
        await run.put(cell.five, replace(candle_of(cell.at, values), sequence_num=7))
        assert await sums.note(cell.five, found, "test") == NOTHING
        assert await sums.note(cell.five, await sums.compare(cell.five, slot), "test") == slot
        noted = (await run.parts.evidence.verified(cell.five, slot.hull))[cell.at]
        (read,) = await run.parts.evidence.read([(cell.five, slot.hull)])
        # As of the answers about the minutes; the bar is known to exist from now on.
        assert noted.at == NOW // 1_000 * 1_000
        assert read.known.exists.holds(cell.at)


async def test_a_run_without_longer_bars_to_verify_reads_nothing_for_sums(redis_url, monkeypatch):
    async with engine(redis_url) as run:
        ladder = Ladder(run, all_series())
        await catch_up(ladder)
        await ladder.verify()
        compared = []
        monkeypatch.setattr(SumProofs, "_compare_part", lambda *asked: compared.append(asked))
        done = await ladder.verify()
        assert (done.requests, done.newly_verified, compared) == (0, 0, [])
