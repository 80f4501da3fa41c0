"""Scheduled passes and the ledger on a real server: what is proved, what is asked for again, and when."""

from __future__ import annotations

import pytest
from tests.integration.engines import DENSE, MINUTE, T0, THIN, engine, span, truth

from reconciler_engine.coinbase.products import Product
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.ledger import Reason, State
from reconciler_engine.planning.sightings import RECHECK_MS, RIPE_MS
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket

pytestmark = pytest.mark.contract(cluster_by_mark=True)

ROOM = 200
"""Slots of a range that leave its page room for neighbours on both sides."""


async def pass_over(run, series=THIN):
    return await run.parts.reconciler.run_pass(PassRequest("test", [series], span(ROOM, 100)))


async def test_a_range_with_room_is_settled_by_one_answer(redis_url):
    async with engine(redis_url) as run:
        absent = ROOM - len(truth(THIN, span(ROOM, 100)))
        done = await pass_over(run)
        assert (done.requests, done.confirmed_empty, done.unresolved, done.missing) == (1, absent, 0, ROOM)
        assert await run.held(THIN) == truth(THIN, span(ROOM, 100))
        again = await pass_over(run)
        assert (again.requests, again.missing, again.confirmed_empty) == (0, 0, absent)


async def test_confirmed_slots_are_asked_for_after_one_and_six_hours_and_never_again(redis_url):
    async with engine(redis_url) as run:
        began = await run.parts.clock.now()
        absent = (await pass_over(run)).confirmed_empty
        for since, requests in (
            (RECHECK_MS[0] - MINUTE, 0),
            (RECHECK_MS[0] + MINUTE, 1),
            (RECHECK_MS[1] - MINUTE, 0),
            (RECHECK_MS[1] + MINUTE, 1),
            (10 * RECHECK_MS[1], 0),
        ):
            # Redis' clock cannot be put forward: the findings are put back instead.
            await put_back(run, began + since - await run.parts.clock.now())
            done = await pass_over(run)
            assert (done.requests, done.confirmed_empty, done.missing) == (requests, absent, 0), since
            await put_back(run, await run.parts.clock.now() - began - since)


async def put_back(run, ms: int) -> None:
    """Let all that is known have become known so much earlier."""

    def moved(found):
        due = None if found.next_check is None else found.next_check - ms
        return found._replace(first=found.first - ms, last=found.last - ms, next_check=due)

    def change(known):
        ledger = known.ledger.revise(Intervals([span(500)]), lambda found: None if found is None else moved(found))
        return known._replace(ledger=ledger)

    await run.parts.evidence.change(THIN, span(500), run.parts.retention, change)


async def test_what_lies_outside_a_listing_is_never_asked_for(redis_url):
    async with engine(redis_url) as run:
        listed = Product("BTC-USD", "USD", tradable=True, quote_volume=None, listed_at=T0 + 250 * MINUTE)
        await run.parts.products.keep([listed], T0)
        done = await pass_over(run, DENSE)
        # 50 of them are the page's neighbours: a candle that is there wins over what the list says
        assert (done.requests, done.missing, done.confirmed_empty, done.unresolved) == (1, 50, 100, 0)
        assert await run.held(DENSE) == truth(DENSE, span(100, 200))
        await run.parts.client.delete(run.key(DENSE))
        before = await run.parts.reconciler.run_pass(PassRequest("test", [DENSE], span(50, 100)))
        assert (before.requests, before.confirmed_empty) == (0, 50)
        (read,) = await run.parts.evidence.read([(DENSE, span(50, 100))])
        assert {stretch.finding.state for stretch in read.ledger.findings} == {State.UNLISTED}


QUIET = SeededMarket(3, [ListedProduct("BTC-USD", 65_000.0)], [span(200, 200)])
"""Nothing trades in 200 slots, of which a page of 300 ends in the middle."""


async def test_a_run_that_a_border_cut_is_settled_by_a_page_over_the_whole_of_it(redis_url):
    request = PassRequest("test", [DENSE], span(600))
    async with engine(redis_url, market=QUIET) as run:
        done = await run.parts.reconciler.run_pass(request)
        assert (done.requests, done.unresolved, done.confirmed_empty, done.filled) == (3, 0, 200, 400)
        assert run.asked(DENSE) == [span(300), span(202, 199), span(300, 300)]
        again = await run.parts.reconciler.run_pass(request)
        assert (again.requests, again.missing) == (0, 0)


async def test_no_page_goes_over_a_run_of_which_a_part_was_not_served(redis_url):
    refused = FaultRule("refused", "status", path="*/candles", count=1, values={"status": 400, "body": "json"})
    async with engine(redis_url, market=QUIET, faults=[refused]) as run:
        # the run ends at a candle on both sides, whichever of the two pages is refused
        await run.put(DENSE, *(Candle(T0 + at * MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0) for at in (199, 400)))
        done = await run.parts.reconciler.run_pass(PassRequest("test", [DENSE], span(600)))
        assert (done.requests, len(done.errors), done.filled) == (2, 1, 199)
        assert (done.unresolved, done.confirmed_empty) == (399, 0)


async def test_a_young_slot_is_asked_for_again_after_four_minutes_and_settled(redis_url):
    there = truth(THIN, span(ROOM, 100))
    # a window whose newest slot holds no candle, as the last one closes
    stop = next(at for at in range(T0 + 200 * MINUTE, T0 + 300 * MINUTE, MINUTE) if at - MINUTE not in there)
    window = Interval(stop - 30 * MINUTE, stop)
    absent = {at for at in window.grid(MINUTE) if at not in there}
    now = stop + MINUTE
    fresh = {at for at in absent if at + MINUTE + RIPE_MS > now}
    async with engine(redis_url) as run:
        requests = []
        # (seconds after the first pass, slots still unresolved)
        for since_s, left in ((0, fresh), (230, fresh), (245, set()), (600, set())):
            await run.turn_to(now + since_s * 1_000)
            done = await run.parts.reconciler.run_pass(PassRequest("test", [THIN], window))
            assert (done.unresolved, done.confirmed_empty) == (len(left), len(absent - left)), since_s
            requests.append(done.requests)
        assert requests == [1, 0, 1, 0]
        (read,) = await run.parts.evidence.read([(THIN, window)])
        newest = read.ledger.at(stop - MINUTE)
        assert newest is not None
        assert (newest.state, newest.reason, newest.sightings) == (State.EMPTY, Reason.WITH_REFERENCE, 2)
