"""`coverage` and `reconcile --dry-run` as a user runs them: they tell the truth, and ask nobody."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
from contextlib import suppress
from xml.etree import ElementTree as ET

import pytest
import redis as redis_py
from tests.integration.engines import MINUTE
from tests.integration.verified_bars import block_fields_of

from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import iso
from reconciler_engine.planning.ledger import Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.store.findings import DAY_MS, encode_day
from reconciler_engine.store.scope import Scope

FIRST = 1_767_225_600_000  # 2026-01-01
SLOTS = 100
SERIES = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "")
NOBODY = "http://127.0.0.1:9"
RANGE = (
    *("--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", 0),
    *("--from", "2026-01-01T00:00", "--to", "2026-01-01T01:40"),
)


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def hold(server):
    """Put in the candles of these slots, verified but for some, and for good what is known of runs of others."""

    def put(slots, unverified=(), **notes):
        members = {}
        for slot in slots:
            at = FIRST + slot * MINUTE
            values = {"timestamp": at, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
            member = json.dumps({**values, "symbol": "BTC-USD", "timeframe": "1m"}).encode()
            server.zadd(SCOPE.candle_key(SERIES), {member: at})
            if slot not in unverified:
                members[at] = member
        server.hset(SCOPE.evidence_key(SERIES), mapping=block_fields_of(members, MINUTE))
        stretches = sorted(
            FindingInterval(
                FIRST + first * MINUTE, FIRST + stop * MINUTE, Finding(State(state), Reason.BY_HAND, 0, 0, 1, None)
            )
            for state, (first, stop) in notes.items()
        )
        if stretches:
            day = FIRST // DAY_MS
            server.hset(SCOPE.evidence_key(SERIES), str(day), encode_day(Ledger(stretches).findings, day, MINUTE))

    return put


@pytest.fixture
def exchange(start_exchange, tmp_path):
    folder = tmp_path / "truth"
    folder.mkdir()
    rows = "".join(f"{FIRST + slot * MINUTE},1,1,1,1,1\n" for slot in range(SLOTS))
    text = "start_ms,open,high,low,close,volume\n" + rows
    (folder / "BTC-USD_1m.csv.gz").write_bytes(gzip.compress(text.encode()))
    return start_exchange(replay=folder, public_rate=0, start=FIRST + 1_440 * MINUTE)


@pytest.fixture
def run(run_inside, redis_url):
    def run_it(*arguments, base_url=NOBODY, **settings):
        return run_inside(*arguments, "--base-url", base_url, RECONCILER_REDIS_URL=redis_url, **settings)

    return run_it


@pytest.fixture
def scene(hold):
    """Of 100 slots one is missing, 5 are empty, 4 halted, 3 unlisted, 2 suspect, 4 not verified."""
    hold([slot for slot in range(SLOTS) if slot != 50 and not 10 <= slot < 22], range(60, 64), empty=(10, 15),
         halted=(15, 19), unlisted=(19, 22), suspect=(70, 72))  # fmt: skip


def everything(server):
    return {key: server.dump(key) for key in server.keys("*")}


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("command", [("coverage",), ("reconcile", "--dry-run")], ids=" ".join)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["people", "programs"])
def test_nobody_is_asked_and_nothing_changes(run, server, exchange, command, form):
    before = everything(server)
    run(*command, *RANGE, *form, base_url=exchange.url)
    assert exchange.log.read_text() == ""
    assert everything(server) == before


def test_a_plan_is_what_the_pass_then_asks(run, hold, exchange):
    hold(slot for slot in range(SLOTS) if slot not in {3, 40, 41, 99})
    plan = run("reconcile", "--dry-run", *RANGE, "--json", base_url=exchange.url)
    assert (plan.code, plan.err) == (0, "")
    drawn = run("coverage", *RANGE, "--json", base_url=exchange.url)
    assert drawn.code == 3
    assert {name: drawn.json[name] for name in plan.json if name != "series"} == {
        name: value for name, value in plan.json.items() if name != "series"
    }
    assert (plan.json["missing"], plan.json["requests"], plan.json["duration_ms"]) == (4, 1, 200)
    assert exchange.requests() == []
    done = run("reconcile", *RANGE, "--json", base_url=exchange.url)
    assert (done.code, done.json["filled"], done.json["requests"]) == (0, 4, plan.json["requests"])
    assert len(exchange.requests()) == plan.json["requests"]
    again = run("reconcile", "--dry-run", *RANGE, "--json", base_url=exchange.url)
    assert (again.json["missing"], again.json["requests"]) == (0, 0)


def test_what_is_settled_costs_no_request(run, hold, exchange):
    hold(range(5, SLOTS), empty=(0, 5))
    plan = run("reconcile", "--dry-run", *RANGE)
    assert plan.code == 0
    assert "0 slots missing, 5 confirmed empty: 0 requests" in plan.out
    assert "nothing was asked" in plan.out
    done = run("reconcile", *RANGE, "--verify", "none", "--json", base_url=exchange.url)
    assert (done.code, done.json["requests"], exchange.requests()) == (0, 0, [])


def test_a_plan_counts_pages_of_verification_as_asked_for(run, hold, exchange):
    hold(range(SLOTS), unverified=range(40, 50))
    counts = {}
    for verify in ("none", "due", "all"):
        plan = run("reconcile", "--dry-run", *RANGE, "--verify", verify, "--json", base_url=exchange.url).json
        counts[verify] = (plan["requests"], plan["verifying"])
    assert counts == {"none": (0, 0), "due": (1, 1), "all": (1, 1)}
    done = run("reconcile", *RANGE, "--json", base_url=exchange.url)
    assert (done.code, done.json["requests"], done.json["unverified"]) == (0, 1, 0)


@pytest.mark.usefixtures("scene")
def test_every_slot_is_told_by_its_state(run):
    done = run("coverage", *RANGE, "--json")
    assert (done.code, done.err) == (3, "")
    (row,) = done.json["series"]
    assert row["states"] == {
        "present": 81, "unverified": 4, "missing": 1, "empty": 5, "halted": 4, "unlisted": 3, "suspect": 2,
        "unknown": 0,
    }  # fmt: skip
    ends = [[(start - FIRST) // MINUTE, (stop - FIRST) // MINUTE, state] for start, stop, state in row["runs"]]
    assert ends == [
        [0, 10, "present"], [10, 15, "empty"], [15, 19, "halted"], [19, 22, "unlisted"], [22, 50, "present"],
        [50, 51, "missing"], [51, 60, "present"], [60, 64, "unverified"], [64, 70, "present"],
        [70, 72, "suspect"], [72, 100, "present"],
    ]  # fmt: skip
    assert (row["expected"], row["missing"], row["confirmed_empty"], row["requests"]) == (100, 1, 12, 1)
    assert row["obstacles"] == {"not asked for": 1, "doubted": 2, "unverified": 4}
    assert (row["unverified_since"] - FIRST) // MINUTE == 61


@pytest.mark.usefixtures("scene")
def test_a_picture_has_a_sign_a_slot_where_there_is_room(run):
    done = run("coverage", *RANGE, COLUMNS="170")
    axis, row, legend, plan = done.out.splitlines()
    assert axis.split() == ["2026-01-01", "00:00", "01:40", "UTC"]
    cells = "█" * 10 + "·" * 5 + "=" * 4 + "-" * 3 + "█" * 28 + "X" + "█" * 9 + "▒" * 4 + "█" * 6 + "??" + "█" * 28
    assert row == f"BTC-USD:1m  {cells}  1 missing, 2 suspect, 4 unverified, 1 request"
    assert legend.split() == [
        "X",
        "missing",
        "?",
        "suspect",
        "=",
        "halted",
        "·",
        "empty",
        "-",
        "unlisted",
        "▒",
        "unverified",
        "█",
        "present",
    ]
    assert plan == (
        "1 slot missing, 12 confirmed empty: 1 request (1 to verify candles), 1 s at 5 per 1000 ms; nothing was asked"
    )


def test_a_range_beyond_what_is_kept_is_unknown(run, server):
    now = int(server.time()[0]) * 1_000
    newest = now - now % MINUTE
    start, stop = (iso(newest - ago * MINUTE) for ago in (50, 2))
    done = run("coverage", *RANGE[:4], "--max-candles", 20, "--from", start, "--to", stop, "--json")
    (row,) = done.json["series"]
    assert done.code == 3
    assert row["states"]["unknown"] + row["states"]["missing"] == 48
    assert 15 <= row["states"]["missing"] <= 18
    assert row["runs"][0][2] == "unknown"


def test_a_series_that_cannot_be_read_is_unknown_and_says_why(run, server):
    server.set(SCOPE.candle_key(SERIES), "x")
    done = run("coverage", *RANGE)
    assert done.code == 3
    assert "░" * 20 in done.out
    assert "100 unknown" in done.out
    assert "BTC-USD:1m: redis refused the command: WRONGTYPE" in done.out
    plan = run("reconcile", "--dry-run", *RANGE, "--json")
    assert (plan.code, plan.json["requests"], plan.json["series"][0]["expected"]) == (3, 0, 0)


def test_a_future_has_no_slots(run):
    done = run("coverage", *RANGE[:4], "--from", "2999-01-01", "--to", "2999-01-02")
    assert done.code == 3
    assert "no closed slot" in done.out


@pytest.mark.parametrize(
    ("reach", "code"),
    [
        (("--from", "2999-01-01", "--to", "2999-01-02"), 3),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--max-candles", "20"), 3),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--max-candles", "0"), 0),
    ],
)
def test_a_plan_that_leaves_slots_out_says_so(run, reach, code):
    done = run("reconcile", "--dry-run", *RANGE[:4], *reach)
    assert done.code == code
    assert ("1 of 1 series cannot be examined over the whole range" in done.err) == (code == 3)


@pytest.mark.parametrize("path", ["", "/"])
def test_an_svg_without_a_name_is_refused(run, path):
    done = run("coverage", *RANGE, "--svg", path)
    assert (done.code, done.out) == (78, "")
    assert "names no file" in done.err


@pytest.mark.usefixtures("scene")
def test_an_svg_is_written_whole(run, tmp_path):
    path = tmp_path / "coverage.svg"
    done = run("coverage", *RANGE, "--svg", path)
    assert "1 missing, 2 suspect, 4 unverified, 1 request" in done.out
    root = ET.parse(path).getroot()
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "BTC-USD:1m missing, 2026-01-01 00:50 to 00:51 UTC" in titles
    assert [one.name for one in tmp_path.iterdir() if "svg" in one.name] == ["coverage.svg"]


@pytest.mark.usefixtures("scene")
def test_an_svg_that_cannot_be_written_leaves_what_was_there(run, tmp_path, monkeypatch):
    away = run("coverage", *RANGE, "--svg", tmp_path / "no" / "coverage.svg")
    assert (away.code, away.out) == (1, "")
    assert f"--svg {tmp_path / 'no' / 'coverage.svg'}: cannot be written: No such file or directory" in away.err
    path = tmp_path / "coverage.svg"
    path.write_text("before")
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    full = run("coverage", *RANGE, "--svg", path)
    assert full.code == 1
    assert "cannot be written: No space left on device" in full.err
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir() if "svg" in one.name] == ["coverage.svg"]


def written_to(stream, told, run, monkeypatch, **settings) -> str:
    """Run the command with a terminal's or a pipe's stream; return the text read at the other end."""
    with stream, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", stream)
        assert run("coverage", *RANGE, COLUMNS="100", TERM="xterm-256color", **settings).code == 3
    written = b""
    # A terminal whose other side is gone is an error on Linux and an end elsewhere.
    with suppress(OSError):
        while part := os.read(told, 65_536):
            written += part
    os.close(told)
    return written.decode()


@pytest.mark.usefixtures("scene")
def test_a_terminal_gets_colours_unless_they_are_not_wanted(run, monkeypatch):
    def on_a_terminal(**settings):
        control, terminal = pty.openpty()
        return written_to(os.fdopen(terminal, "w"), control, run, monkeypatch, **settings)

    coloured = on_a_terminal()
    plain = on_a_terminal(NO_COLOR="1")
    assert "\x1b[1;31mX\x1b[0m" in coloured
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.usefixtures("scene")
def test_a_pipe_gets_no_colours_and_ascii_where_it_has_no_more(run, monkeypatch):
    told, pipe = os.pipe()
    said = written_to(os.fdopen(pipe, "w", encoding="ascii"), told, run, monkeypatch)
    assert said.isascii()
    assert "\x1b" not in said
    assert "####" in said
