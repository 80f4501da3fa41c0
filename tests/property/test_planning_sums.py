"""Sums of finer bars against a brute force over single trades, in whole units."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import Intervals
from reconciler_engine.planning.sums import covered, is_sum, sums_of

STEP, FINER, SLOTS = 4, 1, 6

Trade = tuple[int, int]
TRADES = st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**14)), max_size=4)
"""Prices in cents and volumes in 1e-8 of a unit."""

BROKEN, EMPTY, VERIFIED = "broken", "empty", "verified"


def bar_of(trades: list[Trade]) -> tuple[float, ...]:
    """Return the bar of some trades as the exchange prints it, and a reader reads that."""
    prices = [price for price, _ in trades]
    printed = [Decimal(one) / 100 for one in (prices[0], max(prices), min(prices), prices[-1])]
    return *map(float, map(str, printed)), float(str(Decimal(sum(volume for _, volume in trades)) / 10**8))


@given(st.lists(TRADES, min_size=STEP * SLOTS, max_size=STEP * SLOTS), st.sets(st.integers(0, STEP * SLOTS - 1)))
def test_bars_of_one_market_are_sums_wherever_every_finer_slot_is_known(market, unknown):
    bars = {at: bar_of(trades) for at, trades in enumerate(market) if trades and at not in unknown}
    empty = Intervals.of_slots([at for at, trades in enumerate(market) if not trades and at not in unknown], FINER)
    wanted = Intervals.of_slots(range(0, STEP * SLOTS, STEP), STEP)
    found = sums_of(wanted, bars, empty, STEP, FINER)
    for slot in range(0, STEP * SLOTS, STEP):
        trades = [one for at in range(slot, slot + STEP) for one in market[at]]
        is_known = not unknown.intersection(range(slot, slot + STEP))
        assert (slot in found) is (is_known and bool(trades))
        if slot in found:
            assert is_sum(bar_of(trades), found[slot])


@given(
    st.lists(TRADES.filter(bool), min_size=STEP, max_size=STEP),
    st.integers(0, 4),
    st.sampled_from([-3, -1, 1, 2, 1_000]),
)
def test_a_bar_that_is_wrong_in_one_place_is_no_sum(market, field, units):
    bars = dict(enumerate(market))
    right = bar_of([one for trades in market for one in trades])
    places = (100, 100, 100, 100, 10**8)
    wrong = Decimal(str(right[field])) + Decimal(units) / places[field]
    planted = (*right[:field], float(wrong), *right[field + 1 :])
    (expected,) = sums_of(
        Intervals.of_slots([0], STEP), {at: bar_of(one) for at, one in bars.items()}, Intervals(), STEP, FINER
    ).values()
    # From a volume of 10,000 on the last printed digit is dust beside it.
    assert is_sum(planted, expected) is (field == 4 and abs(units) <= 1e-12 * right[4] * 10**8)


@given(st.sets(st.integers(0, STEP * SLOTS - 1)))
def test_covered_slots_are_those_of_which_no_finer_one_is_left_out(present):
    wanted = Intervals.of_slots(range(0, STEP * SLOTS, STEP), STEP)
    found = covered(wanted, Intervals.of_slots(sorted(present), FINER), STEP)
    assert [*found.slots(STEP)] == [one for one in wanted.slots(STEP) if present.issuperset(range(one, one + STEP))]
