"""Passes over ten minutes of candles, some of which differ from the exchange's candles."""

from __future__ import annotations

from collections.abc import Sequence

from tests.integration.engines import DENSE, MINUTE, T0, Engine, span, truth, verify_of

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.planning.verification import Verify
from reconciler_engine.store.journal import Journal, Why


def at(slot: int) -> int:
    return T0 + slot * MINUTE


def cut(slot: int, share: float = 0.5, sequence: int | None = None) -> Candle:
    """A candle with a part of its volume, as a disconnect leaves it."""
    open_, high, low, close, volume = truth(DENSE, span(1, slot))[at(slot)]
    return Candle(at(slot), open_, high, low, close, volume * share, sequence)


async def fill(run: Engine, slots: Sequence[int], *wrong: Candle) -> None:
    """Put whole candles into these slots, and wrong ones into theirs."""
    wrong_at = {one.timestamp for one in wrong}
    await run.put(DENSE, *(cut(slot, 1.0) for slot in slots if at(slot) not in wrong_at), *wrong)


async def do_pass(run: Engine, slots: int, *, verify: bool = True) -> ReconciliationResult:
    how = verify_of(run) if verify else Verify.NONE
    request = PassRequest("full_reconcile" if verify else "gap_scan", [DENSE], span(slots), verify=how)
    return await run.parts.reconciler.run_pass(request)


async def journal(run: Engine) -> list[tuple[int, str, str]]:
    """Slot, old member and new one of each repair."""
    changes = await Journal(run.parts.client, run.parts.scope).read([DENSE], since=0, limit=10_000)
    return [((each.start - T0) // MINUTE, each.old, each.new) for each in changes if each.why is Why.REPAIRED]
