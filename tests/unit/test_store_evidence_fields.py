"""Knowledge as the fields of a hash: read back as it was written; other fields say nothing."""

from __future__ import annotations

import json

import pytest

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.hand_marks import MOST_ACCEPTED
from reconciler_engine.planning.ledger import Brought, Knowledge, Repaired, Wait
from reconciler_engine.planning.second_answers import MOST_REPAIRED, MOST_WAITS
from reconciler_engine.store.evidence_fields import ACCEPTED, RECENT, decode_fields, encode_fields, fields_of
from reconciler_engine.store.findings import DAY_MS, days_of

STEP = 60_000
BTC = Series("BTC-USD", Timeframe.M1)
DAY = Interval(20_000 * DAY_MS, 20_001 * DAY_MS)
NAMES = fields_of(days_of(DAY))


@pytest.mark.parametrize(
    "known",
    [
        Knowledge(),
        Knowledge(exists=Intervals([Interval(DAY.start, DAY.start + 5 * STEP)])),
        Knowledge(brought=(Brought(Interval(DAY.start, DAY.start + STEP), DAY.stop),)),
        Knowledge(repaired=(Repaired(DAY.start, 2, DAY.stop), Repaired(DAY.start + STEP, 1, DAY.stop))),
        Knowledge(waits=(Wait(DAY.start, DAY.stop, "0123456789ab"), Wait(DAY.start + STEP, DAY.stop, "0" * 12))),
        Knowledge(accepted={DAY.start: "0123456789abcdef", DAY.start + STEP: "fedcba9876543210"}),
    ],
)
def test_knowledge_is_read_as_it_was_written_and_written_alike_again(known):
    bodies = encode_fields(known, NAMES, STEP)
    assert decode_fields(BTC, bodies) == known
    assert encode_fields(decode_fields(BTC, bodies), NAMES, STEP) == bodies
    assert any(bodies.values()) is (known != Knowledge())


def test_a_field_of_the_version_before_is_read_and_written_alike():
    body = b'{"brought":[[1767225600000,1767225660000,1767230000000]]}'
    known = decode_fields(BTC, {RECENT: body})
    assert (len(known.brought), known.repaired, known.waits) == (1, (), ())
    assert encode_fields(known, [RECENT], STEP) == {RECENT: body}


@pytest.mark.parametrize("name", [RECENT, ACCEPTED])
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"5",
        b'"x"',
        b'{"brought":5}',
        b'{"a":1}',
        b'{"brought":[],"repaired":[[1]]}',
        b'{"brought":[],"waits":[[1,2]]}',
        b"\xff",
        b"[" * 9_999,
    ],
)
def test_a_field_that_is_none_says_nothing(name, body):
    assert decode_fields(BTC, {name: body}) == Knowledge()


def test_accepted_slots_are_bounded_and_on_the_grid():
    many = {slot * STEP // 2: "00" for slot in range(2 * MOST_ACCEPTED + 9)}
    accepted = decode_fields(BTC, {ACCEPTED: json.dumps(many).encode()}).accepted
    assert list(accepted) == [slot * STEP for slot in range(MOST_ACCEPTED)]


def test_no_more_repairs_or_waits_are_read_than_are_kept():
    repaired = [[slot, 1, 0] for slot in range(MOST_REPAIRED + 5)]
    waits = [[slot, 1, "00"] for slot in range(MOST_WAITS + 5)]
    body = json.dumps({"brought": [], "repaired": repaired, "waits": waits}).encode()
    known = decode_fields(BTC, {RECENT: body})
    assert (len(known.repaired), len(known.waits)) == (MOST_REPAIRED, MOST_WAITS)
