"""The ready gate about one bar: a member of any bytes, accepted or verified; and what it says of a bad question."""

from __future__ import annotations

import json

import pytest
import redis as redis_py
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import plain_client
from tests.integration.verified_bars import block_fields_of
from tests.parity.examples import ACCEPTED, GOOD, REFUSED, SCORE, T, mutated
from tests.parity.gate import Cache, Question, ask_gate, grace_for, judge

from reconciler_engine.detection.members import check_members
from reconciler_engine.engine.cache_inspection import AHEAD_MS
from reconciler_engine.engine.ready import why_not_ready
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.obstacles import NEWER
from reconciler_engine.planning.hand_marks import digest_of
from reconciler_engine.planning.ledger import OLD_PROOFS, Finding, FindingInterval, Reason, State
from reconciler_engine.planning.verification import DEFAULT_MAX_UNVERIFIED_MS
from reconciler_engine.planning.window import DEFAULT_GRACE_MS, MEMBERS_REACH
from reconciler_engine.store import findings
from reconciler_engine.store.findings import DAY_MS, encode_day
from reconciler_engine.store.ready_question import MAX_BARS, READY_TEXT
from reconciler_engine.store.scope import Layout, Scope

pytestmark = pytest.mark.contract(cluster_by_mark=True)

SERIES = Series("BTC-USD", Timeframe.M5)
STEP = SERIES.timeframe.step_ms
ONE = Question(1, T + STEP)
VERIFIED = Question(1, T + STEP, unverified=0)
CANDLE = ACCEPTED[next(iter(ACCEPTED))].encode()


@pytest.fixture(params=Layout)
def scope(request):
    return Scope(1, 1, "", request.param)


@pytest.fixture
def server(redis_url):
    with plain_client(redis_url) as client:
        yield client


@pytest.fixture
def ask(server, scope):
    """Ask about one bar with this member, and other things that lie in the cache."""

    def put_and_ask(member, fields=None, question=ONE, more=None):
        cache = Cache({member: T} | (more or {}), fields or {})
        cache.lay_out(server, scope, SERIES)
        told = ask_gate(server, scope, SERIES, question)
        assert told == judge(cache, SERIES, question)
        return told

    return put_and_ask


def spaced(member):
    return member


def usual(member):
    """As the feeder writes: no spaces."""
    return member.replace(b" ", b"")


@pytest.mark.parametrize("form", [spaced, usual])
@pytest.mark.parametrize("name", ACCEPTED)
def test_candles(ask, name, form):
    assert ask(form(ACCEPTED[name].encode())).is_ready


@pytest.mark.parametrize("form", [spaced, usual])
@pytest.mark.parametrize("name", REFUSED)
def test_no_candles(ask, name, form):
    assert not ask(form(REFUSED[name][0].encode())).is_ready


@pytest.mark.parametrize(
    ("letters", "is_text"),
    [
        (b"\xc3\xa9", True),
        (b"\xe2\x82\xac", True),
        (b"\xf0\x9f\x98\x80", True),
        (b"\x7f", True),
        (b"\xff", False),
        (b"\xc3", False),
        (b"\xc0\x80", False),
        (b"\xe0\x80\x80", False),
        (b"\xed\xa0\x80", False),
        (b"\xf0\x80\x80\x80", False),
        (b"\xf4\x90\x80\x80", False),
        (b"\xc3\xc3\xa9\xa9", False),
    ],
)
def test_bytes_are_text_or_no_candle(ask, letters, is_text):
    member = json.dumps(GOOD | {"x": "?"}).encode().replace(b"?", letters)
    assert ask(member).is_ready is is_text


@pytest.mark.parametrize(
    "members", [mutated(), mutated().map(usual), st.binary(min_size=1, max_size=40)], ids=["spaced", "usual", "any"]
)
def test_a_candle_is_known_in_any_bytes(ask, members):
    seen = set()

    @given(member=members)
    def check(member):
        is_candle = len(check_members([member, SCORE], "BTC-USD", "5m", STEP).timestamps) == 1
        assert ask(member).is_ready is is_candle
        seen.add(is_candle)

    check()
    assert False in seen


@pytest.mark.parametrize(
    ("digest", "is_right"),
    [(digest_of, True), (lambda member: digest_of(member + b" "), False), (lambda _: 5, False), (None, False)],
)
def test_an_accepted_candle_alone_is_right_whatever_is_said(ask, digest, is_right):
    day, doubt = T // DAY_MS, Finding(State.SUSPECT, Reason.CONTESTED, 0, 0, 1, None)
    fields = {str(day): encode_day([FindingInterval(T, T + STEP, doubt)], day, STEP)}
    assert ask(CANDLE, fields).reason == "contested"
    accepted = b"{broken" if digest is None else json.dumps({str(T): digest(CANDLE)}).encode()
    assert ask(CANDLE, fields | {"accepted": accepted}).is_ready is is_right
    assert ask(CANDLE, {"accepted": accepted}, VERIFIED).is_ready is is_right


def test_a_bar_is_verified_by_the_digest_of_its_very_member(ask):
    noted = block_fields_of({T: CANDLE}, STEP)
    assert ask(CANDLE, noted, VERIFIED).is_ready
    assert ask(CANDLE, {}, VERIFIED).reason == "unverified"
    assert ask(CANDLE + b" ", noted, VERIFIED).reason == "unverified"
    assert ask(CANDLE, block_fields_of({T + STEP: CANDLE}, STEP), VERIFIED).reason == "unverified"


def test_of_two_members_neither_is_verified(ask):
    fields = block_fields_of({T: CANDLE}, STEP)
    assert ask(CANDLE, fields, VERIFIED, {CANDLE + b" ": T}).reason == "unverified"
    assert ask(CANDLE, fields, ONE, {CANDLE + b" ": T}).is_ready
    assert ask(CANDLE, fields, ONE, {b"x": T + 1}).reason == "not a candle"


@pytest.mark.parametrize(
    "harm",
    [lambda body: body[:-1], lambda body: body + b"\0", lambda body: b"\2" + body[1:], lambda _: b""],
    ids=["cut", "longer", "another version", "nothing"],
)
def test_a_block_of_digests_that_cannot_be_read_verifies_nothing(ask, harm):
    fields = {name: harm(body) for name, body in block_fields_of({T: CANDLE}, STEP).items()}
    assert ask(CANDLE, fields, VERIFIED).reason == "unverified"


def test_a_verified_member_with_another_score_is_not_a_candle(server, scope):
    cache = Cache({CANDLE: T + 1}, block_fields_of({T: CANDLE}, STEP))
    cache.lay_out(server, scope, SERIES)
    told = ask_gate(server, scope, SERIES, VERIFIED)
    assert told == judge(cache, SERIES, VERIFIED)
    assert told.reason == "not asked for"


@pytest.mark.parametrize("members", [False, True])
@pytest.mark.parametrize(
    ("newer", "is_right"),
    [
        ({CANDLE.replace(SCORE, str(T + STEP).encode()): T + STEP}, True),
        ({b"no candle": T + STEP}, False),
        ({CANDLE + b" ": T + STEP}, False),
        ({CANDLE + b" ": T + STEP + 1}, False),
        ({b"no candle": 2**52}, False),
    ],
    ids=["the bar under way", "garbage", "an older bar", "off the grid", "far ahead"],
)
def test_readers_of_members_need_candles_after_the_closed_bars(ask, newer, is_right, members):
    question = Question(1, T + STEP, members=members)
    told = ask(CANDLE, question=question, more=newer)
    assert told.is_ready is (is_right or not members)
    assert told.malformed.first == (None if told.is_ready else T + STEP)


@pytest.mark.parametrize(("ahead_s", "is_right"), [(0, True), (10 * 60, True), (3_600, False), (10**9, False)])
def test_readers_of_members_need_bars_that_a_clock_has_reached(server, scope, ahead_s, is_right):
    now = server.time()[0] * 1_000
    newest = (now // STEP - 1) * STEP
    ahead = (now + ahead_s * 1_000) // STEP * STEP
    written = {CANDLE.replace(SCORE, str(at).encode()): at for at in (newest, ahead)}
    server.zadd(scope.candle_key(SERIES), written)
    words = (1, now - newest - STEP, "any", 0, "members")
    assert server.execute_command("EVAL", READY_TEXT, 1, scope.candle_key(SERIES), *words) == is_right


@pytest.mark.parametrize("score", ["inf", 2**60, 1e300])
def test_readers_of_members_are_told_of_scores_that_are_no_instant(server, scope, score):
    server.zadd(scope.candle_key(SERIES), {CANDLE: T, b"no candle": score})
    options = {"layout": scope.layout, "grace_ms": grace_for(T + STEP, STEP), "max_unverified_ms": "any"}
    (told,) = why_not_ready(server, ["BTC-USD"], ["5m"], 1, **options, members=True)
    assert (told.reason, told.first, told.cure) == ("not a candle", T + STEP, NEWER)


def test_the_script_has_the_library_s_limits():
    lines = READY_TEXT.splitlines()
    assert {
        f"local GRACE = {DEFAULT_GRACE_MS}", f"local MAX_UNVERIFIED = {DEFAULT_MAX_UNVERIFIED_MS}",
        f"local MOST = {MAX_BARS}", f"local AHEAD = {AHEAD_MS}", f"local REACH = {MEMBERS_REACH}",
        f"local UNUSABLE = {findings._REASON_CODES[Reason.ROW_UNUSABLE]}",
        f"local BY_HAND = {findings._REASON_CODES[Reason.BY_HAND]}",
    } <= set(lines)  # fmt: skip
    codes = findings._VERSION, len(findings._STATES), len(findings._REASONS)
    assert "local VERSION, STATES, REASONS = {}, {}, {}".format(*codes) in lines
    old = ", ".join(f"[{code}] = true" for code in sorted(findings._REASON_CODES[reason] for reason in OLD_PROOFS))
    assert f"local OLD_PROOFS = {{ {old} }}" in lines


@pytest.mark.parametrize(
    ("key", "arguments", "fault"),
    [
        ("candles:1:1:BTC-USD:3m", [1], "is not of a series; allowed: candles:"),
        ("candle:1:1:BTC-USD:1m", [1], "key candle:1:1:BTC-USD:1m is not of a series"),
        ("candles:1:1:BTC-USD:1m", [], "bars nil is not allowed; allowed: 1 to 10000"),
        ("candles:1:1:BTC-USD:1m", [0], "bars 0 is not allowed"),
        ("candles:1:1:BTC-USD:1m", [10_001], "bars 10001 is not allowed"),
        ("candles:1:1:BTC-USD:1m", ["1.5"], "bars 1.5 is not allowed"),
        ("candles:1:1:BTC-USD:1m", [1, -1], "grace_ms -1 is not allowed; allowed: a whole number of ms from 0"),
        ("candles:1:1:BTC-USD:1m", [1, "soon"], "grace_ms soon is not allowed"),
        ("candles:1:1:BTC-USD:1m", [1, 0, "all"], "max_unverified_ms all .* a whole number of ms from 0, or any"),
        ("candles:1:1:BTC-USD:1m", [1, 0, "any", -1], "young_ms -1 is not allowed"),
        ("candles:1:1:BTC-USD:1m", [1, 0, 0, 0, "bars"], "form bars is not allowed; allowed: slots or members"),
        ("candles:1:1:BTC-USD:1m", [1, 0, 0, 0, "slots", "read"], "detail read is not allowed; allowed: detail"),
    ],
)
def test_the_script_names_what_is_wrong_with_a_question(server, key, arguments, fault):
    with pytest.raises(redis_py.ResponseError, match=fault):
        server.execute_command("EVAL", READY_TEXT, 1, key, *arguments)


def test_a_declared_evidence_key_changes_nothing(server, scope):
    key, evidence = scope.candle_key(SERIES), scope.evidence_key(SERIES)
    day, empty = T // DAY_MS, Finding(State.EMPTY, Reason.BY_HAND, 0, 0, 1, None)
    server.hset(evidence, str(day), encode_day([FindingInterval(T, T + STEP, empty)], day, STEP))
    assert server.execute_command("EVAL", READY_TEXT, 2, key, evidence, 1, grace_for(T + STEP, STEP)) == 1


def test_the_script_writes_nothing(server, scope):
    server.zadd(scope.candle_key(SERIES), {"x": T})
    assert server.execute_command("EVAL_RO", READY_TEXT, 1, scope.candle_key(SERIES), 1) == 0
