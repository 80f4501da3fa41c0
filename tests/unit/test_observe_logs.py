"""Log lines: JSON that parses with any text in it, and short lines for people."""

from __future__ import annotations

import io
import json
import logging
import math
import os

import pytest
import trio

from reconciler_engine.cli.standard_streams import terminal_style
from reconciler_engine.observe import logs


class Terminal(io.StringIO):
    """A text that is as wide as a terminal."""

    def __init__(self, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((width, 24)))

    def fileno(self) -> int:
        return 2


@pytest.fixture
def write(monkeypatch):
    """Configure the log onto a text, log one event, and return what was written."""
    package = logging.getLogger("reconciler_engine")
    kept = package.handlers[:], package.level, package.propagate

    def run(
        style, message, *, level="INFO", simulated=False, at="info", exc_info=None, forged=None, width=None, **extra
    ):
        text = io.StringIO() if width is None else Terminal(width, monkeypatch)
        monkeypatch.setattr("sys.stderr", text)
        logs.configure(style, level, process="worker-1", simulated=simulated)
        getattr(logging.getLogger("reconciler_engine.engine.tasks.worker"), at)(
            message, exc_info=exc_info, extra={**extra, **(forged or {})}
        )
        return text.getvalue()

    yield run
    package.handlers[:], package.level, package.propagate = kept


def test_an_event_is_one_line_of_json_with_its_fields(write):
    line = write("json", "pass done", filled=3, errors=["a", "b"])
    assert line.count("\n") == 1
    event = json.loads(line)
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "INFO", "logger": "engine.tasks.worker", "event": "pass done", "process": "worker-1", "filled": 3,
        "errors": ["a", "b"],
    }  # fmt: skip


async def test_a_runs_lines_carry_its_facts_in_every_task_of_it(write):
    lines = []

    async def work() -> None:
        await trio.lowlevel.checkpoint()
        lines.append(json.loads(write("json", "at work", task="own")))

    with logs.about(job="gap_scan", task="outer"):
        logs.note(run="run-1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
        with logs.about(run="run-2"):
            lines.append(json.loads(write("json", "another")))
        lines.append(json.loads(write("json", "pass done", event="forged")))
    logs.note(run="nobody's")
    lines.append(json.loads(write("json", "after")))
    facts = [(line["event"], line.get("job"), line.get("run"), line.get("task")) for line in lines]
    assert facts == [
        ("at work", "gap_scan", "run-1", "own"),
        ("another", "gap_scan", "run-2", "outer"),
        ("pass done", "gap_scan", "run-1", "outer"),
        ("after", None, None, None),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "two\nlines",
        'a "quote" \\ and \u2028',
        "\ud800",
        b"\xff",
        math.nan,
        math.inf,
        {1: {2, 3}},
        {(1, 2): 3},
        ValueError("x"),
        [math.nan, {"deep": -math.inf}],
    ],
    ids=repr,
)
def test_whatever_a_field_holds_the_line_is_strict_json(write, value):
    line = write("json", "event", value=value)
    assert line.count("\n") == 1
    assert line.isascii()

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    assert "value" in json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("name", ["time", "level", "logger", "event", "simulated"])
def test_a_field_does_not_take_the_place_of_a_fixed_one(write, name):
    event = json.loads(write("json", "event", simulated=True, forged={name: "forged"}))
    assert event["event"] == "event"
    assert (event["level"], event["process"], event["simulated"]) == ("INFO", "worker-1", True)


def test_an_exception_steers_no_terminal(write):
    text = write("human", "failed", at="error", exc_info=ValueError("\x1b[2J\x9b"))
    assert text.splitlines()[-1] == "ValueError: \\x1b[2J\\x9b"


def test_an_exception_is_a_field_of_its_line(write):
    error = ValueError("no")
    event = json.loads(write("json", "failed", at="error", exc_info=error))
    assert (event["level"], event["exception"]) == ("ERROR", "ValueError: no")


def test_a_person_gets_a_short_line(write):
    line = write("human", "pass done", filled=3, errors=("a", "b"), none=())
    assert line[8:] == " worker-1: pass done  filled=3 errors=[2] none=[]\n"
    assert write("human", "pass done")[8:] == " worker-1: pass done\n"


def test_a_summary_stands_for_the_fields_and_is_for_people_only(write):
    assert write("human", "pass done", filled=3, summary="3 filled")[8:] == " worker-1: pass done  3 filled\n"
    assert "summary" not in json.loads(write("json", "pass done", filled=3, summary="3 filled"))


def test_a_person_sees_what_is_a_warning_and_what_is_invented(write):
    line = write("human", "look", at="warning", simulated=True)
    assert line[8:] == " SIMULATED worker-1: WARNING look\n"


def test_a_line_is_broken_between_words_on_a_narrow_terminal(write):
    lines = write("human", "pass done", width=60, summary="full_reconcile  " + "many words " * 20).splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 60
    assert all(line.startswith(" " * 9) and not line.startswith(" " * 10) for line in lines[1:])
    assert (
        " ".join(line.strip() for line in lines)[8:]
        == f" worker-1: pass done  full_reconcile  {'many words ' * 20}".rstrip()
    )
    address = "redis://" + "x" * 90
    assert address in write("human", "cache", width=60, summary=address)
    coloured = write("coloured", "look", at="warning", width=60, summary="many words " * 20).splitlines()
    assert coloured[0].startswith("\x1b[2m")
    assert "\x1b[33mWARNING\x1b[0m look  many words" in coloured[0]
    assert not any("\x1b" in line for line in coloured[1:])
    # a pipe takes them whole
    assert len(write("human", "pass done", summary="many words " * 20).splitlines()) == 1


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "a\rb"])
def test_a_value_does_not_break_a_persons_line(write, text):
    line = write("human", "look", error=text)
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "\r" not in line


def test_what_is_below_the_level_is_not_written(write):
    assert write("json", "event", level="WARNING") == ""


def test_a_warning_of_the_same_error_is_shown_once_in_ten_minutes_with_its_count(capsys):
    logger = logging.getLogger("reconciler_engine")
    kept = logger.handlers[:], logger.level, logger.propagate
    logs.configure("json", "INFO", process="test")
    for created, error in [(0, "full"), (1, "full"), (2, "away"), (599, "full"), (600, "full"), (601, "full")]:
        record = logger.makeRecord("x", logging.WARNING, "", 0, "lease not refreshed", (), None, extra={"error": error})
        record.created = created
        logger.handle(record)
    logger.handlers[:], logger.level, logger.propagate = kept
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["error"], one.get("repeated")) for one in told] == [("full", None), ("away", None), ("full", 2)]


def test_people_read_no_raw_milliseconds(capsys):
    logger = logging.getLogger("reconciler_engine")
    kept = logger.handlers[:], logger.level, logger.propagate
    logs.configure("human", "INFO", process="test")
    logger.warning("clocks", extra={"skew_ms": -90_000, "slot": 1_767_225_600_000, "count": 7, "simulated": True})
    logger.handlers[:], logger.level, logger.propagate = kept
    line = capsys.readouterr().err
    assert line.endswith("WARNING clocks  skew=-1 m 30 s slot=2026-01-01T00:00:00Z count=7 simulated=True\n")


@pytest.mark.parametrize(
    ("environment", "style"), [({}, "coloured"), ({"NO_COLOR": "1"}, "human"), ({"TERM": "dumb"}, "human")]
)
def test_a_terminal_gets_the_level_in_colour_unless_it_wants_none(capsys, monkeypatch, environment, style):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert terminal_style() == style
    logger = logging.getLogger("reconciler_engine")
    kept = logger.handlers[:], logger.level, logger.propagate
    logs.configure(style, "INFO", process="test")
    logger.error("it burns")
    logger.handlers[:], logger.level, logger.propagate = kept
    assert ("\x1b[31mERROR\x1b[0m it burns" in capsys.readouterr().err) is (style == "coloured")
