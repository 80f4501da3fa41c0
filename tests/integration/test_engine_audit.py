"""Present candles against the exchange's: found for nothing, told or repaired, and never over a live write."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import trio
from tests.integration.engines import DENSE, MINUTE, T0, THIN, Engine, engine, span, truth, verify_of
from tests.integration.wrong_candles import at, cut, do_pass, fill, journal

from reconciler_engine.engine.evidence_edits import accept_candles
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.audit import Copy, Doubt, values_of
from reconciler_engine.planning.ledger import Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.planning.pages import MARGIN_SLOTS
from reconciler_engine.planning.second_answers import CONTESTED_AFTER
from reconciler_engine.planning.verification import Verify
from reconciler_engine.store.members import member_of
from reconciler_engine.store.retention import Retention

pytestmark = pytest.mark.contract(cluster_by_mark=True)

UNLIMITED = Retention(0, 0)
HOUR = 3_600_000
REPAIR: dict[str, Any] = {}
REPORT: dict[str, Any] = {"audit_policy": "report"}
ALL: dict[str, Any] = {"full_reconcile_verify": "all"}


def slots_of(*slots: int) -> Intervals:
    return Intervals.of_slots([at(slot) for slot in slots], MINUTE)


async def suspects(run: Engine, slots: int) -> set[int]:
    """Suspect slots."""
    (read,) = await run.parts.evidence.read([(DENSE, span(slots))])
    return {
        (open_time - T0) // MINUTE
        for start, stop, finding in read.ledger.findings
        if finding.state is State.SUSPECT
        for open_time in range(start, stop, MINUTE)
    }


async def test_the_spare_slots_of_a_page_find_wrong_candles_at_no_cost(redis_url):
    async with engine(redis_url, **REPORT) as run:
        wrong = [cut(3), cut(8, sequence=7), cut(60)]
        await fill(run, [slot for slot in range(80) if slot != 5], *wrong)
        result = await do_pass(run, 10)
        # margins reach beyond the window's ten slots, not up to slot 60
        assert (result.filled, result.requests, result.mismatched, result.repaired) == (1, 1, 2, 0)
        assert await suspects(run, 80) == {3, 8}
        assert {one.timestamp: (await run.held(DENSE))[one.timestamp][4] for one in wrong} == {
            one.timestamp: one.volume for one in wrong
        }
        assert await journal(run) == []
        # nothing is missing, nothing is asked: not even by a full pass, whose settings repair nothing
        again = await do_pass(run, 80)
        assert (again.requests, again.mismatched) == (0, 0)


async def test_a_suspect_that_agrees_by_now_is_cleared(redis_url):
    async with engine(redis_url, **REPORT) as run:
        await fill(run, [slot for slot in range(10) if slot != 5], cut(3), cut(4))
        await do_pass(run, 10)
        assert await suspects(run, 10) == {3, 4}
        for slot in (3, 6):
            await run.parts.client.zremrangebyscore(run.key(DENSE), at(slot), at(slot))
        await fill(run, [3])
        result = await do_pass(run, 10)
        assert (result.filled, result.mismatched) == (1, 1)
        assert await suspects(run, 10) == {4}


async def test_a_repair_replaces_wrong_candles_live_ones_too(redis_url):
    async with engine(redis_url) as run:
        wrong = {3: cut(3), 8: cut(8, sequence=7)}
        await fill(run, [slot for slot in range(10) if slot != 5], *wrong.values())
        result = await do_pass(run, 10, verify=False)
        assert (result.mismatched, result.repaired, result.requests) == (2, 2, 1)
        assert await run.held(DENSE) == truth(DENSE, span(10))
        assert await journal(run) == [
            (slot, member_of(DENSE, wrong[slot]), member_of(DENSE, cut(slot, 1.0))) for slot in (8, 3)
        ]
        assert await suspects(run, 10) == set()


@pytest.mark.parametrize("slots", [10, 300, 700])
async def test_verifying_all_asks_the_fewest_pages_over_every_slot(redis_url, slots):
    async with engine(redis_url, **ALL) as run:
        # The newest row of an answer alone repairs nothing: it may be cut.
        wrong = [cut(slot) for slot in (0, slots // 2, slots - 2)]
        await fill(run, range(slots), *wrong)
        quick = await do_pass(run, slots, verify=False)
        assert quick.requests == 0
        survey = await run.parts.surveyor.survey([DENSE], span(slots), verify=Verify.ALL)
        assert survey.plan.requests == -(-slots // 300)
        result = await do_pass(run, slots)
        assert (result.requests, result.mismatched, result.repaired) == (-(-slots // 300), 3, 3)
        assert (result.missing, result.filled, result.unresolved) == (0, 0, 0)
        # but for neighbours beyond a cut
        assert all(newer.start + 2 * MARGIN_SLOTS * MINUTE >= older.stop for older, newer in pairwise(run.asked()))
        assert await run.held(DENSE) == truth(DENSE, span(slots))


async def test_verifying_all_leaves_settled_slots_out(redis_url):
    async with engine(redis_url, **ALL) as run:
        await fill(run, range(300, 600))
        settled = Interval(T0, at(300))
        answer = Answer(settled, at(10_000), slots_of(300))
        for later in range(3):
            old = replace(answer, at=at(10_000) + later * 8 * HOUR)
            venue = Venue(has_reference=True)
            await run.parts.store.merge_answer(DENSE, [], UNLIMITED, old, NOTHING, venue=venue)
        result = await do_pass(run, 600)
        assert (result.requests, result.confirmed_empty) == (1, 300)


async def doubt_early(run: Engine, slot: int, held: Candle) -> None:
    """Note that the exchange differed when the candle could not give way yet."""
    answer = Answer(span(1, slot), at(slot + 1), slots_of(slot))
    doubt = Doubt(cut(slot, 1.0), Copy(member_of(DENSE, held).encode(), values_of(held)), yields=False)
    done = await run.parts.store.merge_answer(DENSE, [], UNLIMITED, answer, slots_of(slot), doubts=[doubt])
    assert done.doubted == 1


@pytest.mark.parametrize(("settings", "verify", "requests"), [(REPAIR, True, 1), (REPAIR, False, 0), (REPORT, True, 1)])
async def test_a_full_pass_asks_for_suspects_once_they_are_due(redis_url, settings, verify, requests):
    """Those that may give way at once, all others after an hour: a report of today may be mended by then."""
    async with engine(redis_url, **settings) as run:
        wrong = [cut(3), cut(7), cut(9)]
        await fill(run, range(10), *wrong)
        for slot, held in ((3, wrong[0]), (7, wrong[1]), (9, wrong[2])):
            await doubt_early(run, slot, held)
        planned = (await run.parts.surveyor.survey([DENSE], span(10))).plan.requests
        assert planned == 1
        result = await do_pass(run, 10, verify=verify)
        assert (result.requests, result.repaired) == (requests, 3 * requests if settings is REPAIR else 0)
        assert (result.missing, result.filled) == (0, 0)
        again = await do_pass(run, 10, verify=verify)
        assert again.requests == 0


async def test_what_was_found_by_report_is_repaired_once_told_to(redis_url):
    """By the first full pass under the new settings."""
    wrong = {3: cut(3), 8: cut(8, sequence=7)}
    async with engine(redis_url, **REPORT) as run:
        await fill(run, [slot for slot in range(10) if slot != 5], *wrong.values())
        assert (await do_pass(run, 10)).mismatched == 2
        assert (await do_pass(run, 10)).requests == 0
    async with engine(redis_url) as run:
        assert (await do_pass(run, 10, verify=False)).requests == 0
        assert (await run.parts.surveyor.survey([DENSE], span(10))).plan.requests == 1
        result = await do_pass(run, 10)
        assert (result.requests, result.repaired) == (1, 2)
        assert await run.held(DENSE) == truth(DENSE, span(10))
        assert await suspects(run, 10) == set()
        assert (await run.parts.surveyor.survey([DENSE], span(10))).plan.requests == 0
        assert (await do_pass(run, 10)).requests == 0


async def test_a_suspect_the_exchange_has_no_candle_for_is_asked_for_once(redis_url):
    """It stays suspect, and costs nothing any more."""
    there = truth(THIN, span(60))
    lonely = Candle(next(at(slot) for slot in range(1, 59) if at(slot) not in there), 1.0, 1.0, 1.0, 1.0, 1.0)
    alone = Interval(lonely.timestamp, lonely.timestamp + MINUTE)
    request = PassRequest("full", [THIN], alone, verify=Verify.SUSPECTS)
    async with engine(redis_url) as run:
        await run.put(THIN, lonely)
        once = Answer(alone, at(60), Intervals([alone]))
        doubt = Doubt(
            replace(lonely, volume=2.0), Copy(member_of(THIN, lonely).encode(), values_of(lonely)), yields=False
        )
        await run.parts.store.merge_answer(THIN, [], UNLIMITED, once, Intervals([alone]), doubts=[doubt])
        lacking = "DASH-USD:1m: the exchange left out 1 candle that the cache knows; its answer proves no slot empty"
        for requests, errors in ((1, (lacking,)), (0, ())):
            result = await run.parts.reconciler.run_pass(request)
            assert (result.requests, result.repaired, result.errors) == (requests, 0, errors)
        (read,) = await run.parts.evidence.read([(THIN, alone)])
        assert [stretch.finding.state for stretch in read.ledger.findings] == [State.SUSPECT]


async def test_what_a_feeder_writes_meanwhile_wins_over_any_repair(redis_url):
    """A feeder at full speed on slots that every pass audits and repairs, written as the real one writes."""
    slots, draw = 12, random.Random(5)
    async with engine(redis_url, **ALL) as run:
        await fill(run, [], *(cut(slot, 0.01) for slot in range(slots)))
        written: dict[int, list[str]] = {slot: [member_of(DENSE, cut(slot, 0.01))] for slot in range(slots)}
        ended = trio.Event()

        async def feed() -> None:
            for number in range(400):
                slot = draw.randrange(slots)
                # Never what the exchange has: each of them is in doubt.
                one = cut(slot, 0.1 + number / 500, number if number % 2 else None)
                written[slot].append(member_of(DENSE, one))
                await run.parts.client.zremrangebyscore(run.key(DENSE), at(slot), at(slot))
                await run.parts.client.zadd(run.key(DENSE), {written[slot][-1]: at(slot)})
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            while not ended.is_set():
                await do_pass(run, slots)
        whole = {slot: member_of(DENSE, cut(slot, 1.0)) for slot in range(slots)}
        repairs = await journal(run)
        assert repairs
        for slot in range(slots):
            gave_way = [written[slot].index(old) for number, old, _ in repairs if number == slot]
            # a repair never comes back to what the feeder has written over
            assert gave_way == sorted(set(gave_way))
            assert len(gave_way) <= CONTESTED_AFTER
        assert any("sequenceNum" in json.loads(old) for _, old, _ in repairs)
        await do_pass(run, slots)
        (members,) = await run.parts.client.pipe([("ZRANGE", run.key(DENSE), 0, -1)])
        assert len(members) == slots
        for slot, member in enumerate(members):
            # The hole of remove-then-add may have been filled by a pass; the greater volume stays then. A slot that
            # is contested by now stays as the feeder wrote it.
            is_contested = [number for number, *_ in await journal(run)].count(slot) == CONTESTED_AFTER
            allowed = {whole[slot], written[slot][-1]} if is_contested else {whole[slot]}
            assert member.decode() in allowed


async def rewrite(run: Engine, one: Candle) -> None:
    """Put a candle in the place of the one in its slot, as a feeder does."""
    await run.parts.client.zremrangebyscore(run.key(DENSE), one.timestamp, one.timestamp)
    await run.put(DENSE, one)


async def test_a_slot_that_is_written_after_each_repair_is_contested_and_left_alone(redis_url):
    async with engine(redis_url, **ALL) as run:
        await fill(run, range(10))
        done = []
        for number in range(5):
            await rewrite(run, cut(4, 0.5 + number / 100))
            result = await do_pass(run, 10)
            done.append((result.mismatched, result.repaired))
        assert done == [(1, 1)] * 3 + [(0, 0)] * 2
        assert len(await journal(run)) == 3
        (row,) = (await run.parts.surveyor.survey([DENSE], span(10))).series
        assert row.obstacles == {Obstacle.CONTESTED: 1}


async def test_an_accepted_candle_is_neither_suspect_nor_repaired_until_it_changes(redis_url):
    async with engine(redis_url, **ALL) as run:
        await fill(run, range(10), cut(4))
        stores = run.parts.store, run.parts.evidence, DENSE, span(1, 4)
        edit = await accept_candles(*stores, UNLIMITED, at(20), by="test")
        assert edit == (1, 0)
        result = await do_pass(run, 10)
        assert (result.requests, result.mismatched, result.repaired) == (1, 0, 0)
        await rewrite(run, cut(4, 0.6))
        assert (await do_pass(run, 10)).repaired == 1
        (read,) = await run.parts.evidence.read([(DENSE, span(10))])
        assert read.known.accepted == {}


@pytest.mark.parametrize("reason", [Reason.NOT_AT_EXCHANGE, Reason.LACKED_ONCE, Reason.VALUES_DIFFER, Reason.CONTESTED])
@pytest.mark.parametrize(("due", "requests"), [(0, 1), (2**45, 0)])
async def test_a_full_pass_asks_for_a_suspect_that_rests_when_it_is_due(redis_url, reason, due, requests):
    """Where nothing is repaired, too, and nothing is missing."""
    async with engine(redis_url, **REPORT) as run:
        await fill(run, range(10))
        doubt = FindingInterval(at(4), at(5), Finding(State.SUSPECT, reason, at(20), at(20), 1, due))
        await run.parts.evidence.change(
            DENSE, span(10), UNLIMITED, lambda known: known._replace(ledger=Ledger([doubt]))
        )
        assert (await run.parts.surveyor.survey([DENSE], span(10))).plan.requests == requests
        assert (await do_pass(run, 10, verify=False)).requests == 0
        assert (await do_pass(run, 10)).requests == requests
        # An answer with its row, and with its values, settles it.
        assert await suspects(run, 10) == (set() if requests else {4})


async def test_passes_leave_the_reasons_with_the_coverage_and_narrow_ones_keep_them(redis_url):
    async with engine(redis_url, **REPORT, **ALL) as run:
        wide = PassRequest("full_reconcile", [DENSE], 60 * MINUTE, verify=verify_of(run))
        await run.parts.reconciler.run_pass(wide)
        wrong = max(await run.held(DENSE)) - 20 * MINUTE
        await rewrite(run, Candle(wrong, 1.0, 1.0, 1.0, 1.0, 1.0))
        await run.parts.reconciler.run_pass(wide)
        for look_back in (0, 30):
            if look_back:
                await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE], look_back * MINUTE))
            (told,) = (await run.parts.coverage.read()).values()
            assert told.obstacles == {"values differ": 1}
