"""Pages' own look at series: it shows the contents of the cache, and changes nothing."""

from __future__ import annotations

import pytest
import trio
from tests.integration.engines import DENSE, MINUTE, THIN, Engine, engine
from tests.integration.test_verify_run import Verified
from tests.unit.test_observe_readiness import budget
from tests.unit.test_observe_readiness import engine as status

from reconciler_engine.engine.live_picture import LivePicture
from reconciler_engine.engine.roles.web import KeptReads
from reconciler_engine.engine.status_writer import shown_settings
from reconciler_engine.observe.web.coverage_page import COLUMNS


def look(run: Engine) -> LivePicture:
    scope = run.parts.scope
    said = status(
        user_id=scope.user_id,
        exchange_id=scope.exchange_id,
        source=scope.source,
        layout=scope.layout.value,
        budget=budget(rate_per_s=4.0, share=0.5),
    )
    return LivePicture(run.parts.client, said, shown_settings(run.parts))


async def test_a_strip_shows_each_hole_with_its_reason_and_the_plan_what_fills_it(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(360)
        stop = world.now // MINUTE * MINUTE
        hole = range(stop - 100 * MINUTE, stop - 90 * MINUTE, MINUTE)
        await run.parts.client.zremrangebyscore(run.key(DENSE), hole[0], hole[-1])
        asked = len(run.asked())
        picture = await look(run).picture([DENSE, THIN], "6h")
        dense, thin = picture.strips
        held = await run.held(DENSE)
        absent = [at for at in range(dense.start, dense.stop, MINUTE) if at not in held]
        assert absent == [*hole]
        # No bar was verified, the oldest first of all.
        assert (dense.why.partition(",")[0], dense.since) == ("10 missing", dense.start + MINUTE)
        width = (dense.stop - dense.start) / len(dense.cells)
        assert len(dense.cells) <= COLUMNS
        lacking = {int((at - dense.start) // width) for at in absent}
        assert {index for index, cell in enumerate(dense.cells) if cell == "missing"} == lacking
        # Nothing of the other one is there.
        assert {*thin.cells} == {"missing"}
        assert picture.missing == len(absent) + (thin.stop - thin.start) // MINUTE
        assert picture.duration_ms == picture.requests * 500
        assert len(run.asked()) == asked


async def test_the_page_of_a_series_tells_slots_verification_journal_and_the_next_request(redis_url):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(300, s20=0.5)
        await world.verify()
        await world.put_one(5, share=2.0)
        view = await look(run).view(DENSE)
        stop = world.now // MINUTE * MINUTE
        assert sum(one.number for one in view.slots) == (view.slots[0].last - view.slots[-1].first) // MINUTE + 1
        assert view.slots[0].last == stop - MINUTE
        verified = sum(one.number for one in view.slots if one.verified is not None)
        assert verified == await world.noted(300)
        (change,) = view.changes
        assert (change.why, "volume" in change.old, "volume" in change.new) == ("repaired", True, True)
        # Older bars than passes look at are told apart, and not asked for.
        missing = [at for one in view.slots if one.state == "missing" for at in range(one.first, one.last + 1, MINUTE)]
        looked_at = stop - run.parts.config.full_reconcile_window_ms
        assert view.beyond == sum(at < looked_at for at in missing)
        (due,) = view.due
        assert due.startswith(f"{sum(at >= looked_at for at in missing)} slots from ")
        assert (view.requests, view.error) == (1, None)


async def test_a_series_whose_key_is_another_programs_is_told_with_the_error(redis_url):
    async with engine(redis_url) as run:
        await run.parts.client.set(run.key(DENSE), "text")
        (strip,) = (await look(run).picture([DENSE], "kept")).strips
        assert "WRONGTYPE" in strip.why
        view = await look(run).view(DENSE)
        assert view.error is not None
        assert "WRONGTYPE" in view.error
        (strip,) = (await look(run).picture([DENSE], "6h")).strips
        assert ({*strip.cells}, strip.why, strip.since) == ({"unknown"}, view.error, None)


@pytest.mark.usefixtures("autojump_clock")
async def test_reads_are_kept_for_a_while_and_come_one_at_a_time():
    kept: KeptReads[int] = KeptReads(5.0)
    under_way, most, reads = 0, 0, 0

    async def read() -> int:
        nonlocal under_way, most, reads
        under_way, reads = under_way + 1, reads + 1
        most = max(most, under_way)
        await trio.sleep(0.1)
        under_way -= 1
        return reads

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(kept.get, number % 2, read)
    assert (most, reads) == (1, 2)
    await trio.sleep(4.7)
    assert await kept.get(1, read) < 3
    await trio.sleep(0.3)
    assert await kept.get(1, read) == 3
    for number in range(100, 200):
        await kept.get(number, read)
    assert len(kept._answers) == 16
