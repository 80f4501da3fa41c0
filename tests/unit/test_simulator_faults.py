"""Fault rules: how they are written, which request meets which."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from reconciler_engine.errors import ConfigError
from reconciler_engine.market.interval import Interval
from reconciler_engine.simulator.faults.file import FaultFile, parse_faults, read_fault_file
from reconciler_engine.simulator.faults.modes import MODES
from reconciler_engine.simulator.faults.rules import FaultRule, Faults

PATH = "/api/v3/brokerage/market/products/BTC-USD/candles"
NOON = 1_795_435_200_000


def rule(**changes: Any) -> FaultRule:
    return FaultRule(**{"name": "it", "mode": "reset", **changes})


def play(faults: Faults, count: int = 1, now: int = NOON) -> list[bool]:
    return [faults.choose(PATH, "BTC-USD", "ONE_MINUTE", now) is not None for _ in range(count)]


@pytest.mark.parametrize(
    ("changes", "meets"),
    [
        ({}, True),
        ({"path": "*/candles"}, True),
        ({"path": "*/products"}, False),
        ({"product": "BTC-*"}, True),
        ({"product": "ETH-*"}, False),
        ({"granularity": "ONE_MINUTE"}, True),
        ({"granularity": "ONE_*"}, True),
        ({"granularity": "ONE_DAY"}, False),
        ({"window": Interval(NOON, NOON + 1)}, True),
        ({"window": Interval(NOON - 1, NOON)}, False),
        ({"probability": 0}, False),
    ],
)
def test_rule_is_met_by_the_requests_it_names(changes: dict[str, Any], meets: bool) -> None:
    assert play(Faults([rule(**changes)])) == [meets]


def test_request_without_product_matches_no_product_pattern() -> None:
    assert Faults([rule(product="B*")]).choose("/time", None, None, NOON) is None
    assert Faults([rule(granularity="*")]).choose("/time", None, None, NOON) is not None


@pytest.mark.parametrize(
    ("changes", "played"),
    [
        ({"first": 3}, [0, 0, 1, 1, 1, 1]),
        ({"first": 2, "every": 2}, [0, 1, 0, 1, 0, 1]),
        ({"count": 2}, [1, 1, 0, 0, 0, 0]),
        ({"first": 2, "every": 3, "count": 1}, [0, 1, 0, 0, 0, 0]),
    ],
)
def test_calls_are_counted(changes: dict[str, Any], played: list[int]) -> None:
    assert play(Faults([rule(**changes)]), 6) == [bool(one) for one in played]


def test_probability_is_a_share_and_the_seeds_alone() -> None:
    played = play(Faults([rule(probability=0.3)], seed=4), 2_000)
    assert 0.25 < sum(played) / len(played) < 0.35
    assert played == play(Faults([rule(probability=0.3)], seed=4), 2_000)
    assert played != play(Faults([rule(probability=0.3)], seed=5), 2_000)


def test_first_rule_that_plays_wins_and_earlier_ones_still_count() -> None:
    faults = Faults([rule(name="a", first=2), rule(name="b")])
    names = [chosen.name if (chosen := faults.choose(PATH, None, None, NOON)) else None for _ in range(2)]
    assert names == ["b", "a"]
    assert [(state.matched, state.played) for state in faults.states] == [(2, 1), (1, 1)]


def test_rules_set_again_keep_their_count_and_changed_ones_start_anew() -> None:
    faults = Faults([rule(name="a", count=1), rule(name="b")])
    play(faults, 3)
    faults.set([rule(name="a", count=1), rule(name="b", first=1, every=2), rule(name="c")])
    assert [(state.rule.name, state.matched, state.played) for state in faults.states] == [
        ("a", 3, 1),
        ("b", 0, 0),
        ("c", 0, 0),
    ]


def test_document_is_read_with_its_defaults() -> None:
    text = """
        [[fault]]
        name = "boundary burst"
        mode = "throttle"
        path = "*/candles"
        product = "BTC-*"
        granularity = "ONE_MINUTE"
        first = 2
        every = 3
        count = 4
        probability = 0.5
        from = 2026-11-23T12:00:00Z
        until = "2026-11-23T13:00:00+01:00"
        retry_after = "seconds"

        [[fault]]
        mode = "reset"
        from = 5
    """
    rules = parse_faults(tomllib.loads(text))
    assert rules[0] == FaultRule(
        name="boundary burst",
        mode="throttle",
        path="*/candles",
        product="BTC-*",
        granularity="ONE_MINUTE",
        first=2,
        every=3,
        count=4,
        probability=0.5,
        window=Interval(NOON, NOON),
        values={
            "retry_after": "seconds",
            "wait_s": 1,
            "rate_headers": False,
            "body": False,
            "escalate_after": 0,
            "block_s": 60,
        },
    )
    assert (rules[1].name, rules[1].window.start) == ("fault 2", 5)


def test_every_mode_reads_with_its_defaults() -> None:
    rules = parse_faults({"fault": [{"mode": mode} for mode in MODES]})
    assert [one.mode for one in rules] == list(MODES)
    for one in rules:
        for name, setting in MODES[one.mode].items():
            assert setting.find_problem(one.values[name]) is None


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "mode None is none of throttle, blocked, status"),
        ({"mode": "explode"}, "mode 'explode' is none of"),
        ({"mode": ["reset"]}, "mode .* is none of"),
        ("reset", "fault 2: 'reset' is not a table"),
        ({"mode": "reset", "seconds": 1}, "seconds 1 is unknown to mode reset; allowed: name, mode, path"),
        ({"mode": "status", "status": 418}, "status 418 is none of 500, 502, 503, 504"),
        ({"mode": "status", "status": "500"}, "status '500' is none of"),
        ({"mode": "throttle", "body": 1}, "body 1 is none of False, True"),
        ({"mode": "silence", "seconds": -1}, "seconds -1 is not a number from 0 to 86400"),
        ({"mode": "silence", "seconds": True}, "seconds True is not a number"),
        ({"mode": "silence", "seconds": float("nan")}, "seconds nan is not a number"),
        ({"mode": "reset", "first": 0}, "first 0 is not a whole number >= 1"),
        ({"mode": "reset", "count": 1.5}, "count 1.5 is not a whole number >= 0"),
        ({"mode": "reset", "probability": 2}, "probability 2 is not between 0 and 1"),
        ({"mode": "reset", "path": 3}, "path 3 is not a pattern"),
        ({"mode": "reset", "name": 3}, "name 3 is not text"),
        ({"mode": "reset", "from": "noon"}, "from 'noon' is not an ISO 8601 time"),
        ({"mode": "reset", "from": 10, "until": 5}, "until 5 lies before 'from'"),
    ],
)
def test_wrong_rule_is_named(table: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_faults({"fault": [{"mode": "close"}, table]})


def test_all_wrong_rules_are_reported_at_once() -> None:
    tables = [{"mode": "no", "first": 0}, {"mode": "reset", "name": "x"}, {"mode": "reset", "name": "x", "odd": 1}]
    with pytest.raises(ConfigError) as caught:
        parse_faults({"fault": tables})
    assert len(caught.value.faults) == 4
    assert caught.value.faults[-1] == "fault 'x' is named twice"


@pytest.mark.parametrize("content", [[], {"faults": []}, {"fault": {}}, None, {"fault": [{}] * 1_001}])
def test_document_of_another_form_is_refused(content: object) -> None:
    with pytest.raises(ConfigError, match="faults: "):
        parse_faults(content)


def test_file_may_be_toml_or_json(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text('[[fault]]\nmode = "reset"\n')
    (tmp_path / "f.json").write_text(json.dumps({"fault": [{"mode": "reset"}]}))
    assert read_fault_file(tmp_path / "f.toml") == read_fault_file(tmp_path / "f.json")
    for name, text in (("g.toml", "[["), ("g.json", "{")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError, match=f"faults .*{name}"):
            read_fault_file(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_fault_file(tmp_path / "none")


def test_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text('[[fault]]\nmode = "reset"\n')
    faults, complaints = Faults(), list[str]()
    file = FaultFile(path, faults, complaints.append)

    def modes() -> list[str]:
        file.refresh()
        return [state.rule.mode for state in faults.states]

    assert modes() == ["reset"]
    path.write_text('[[fault]]\nmode = "close"\n[[fault]]\nmode = "gzip"\n')
    assert modes() == ["close", "gzip"]
    # Same size, another time.
    path.write_text('[[fault]]\nmode = "reset"\n[[fault]]\nmode = "gzip"\n')
    os.utime(path, ns=(1, 1))
    assert modes() == ["reset", "gzip"]
    path.write_text("nonsense")
    assert modes() == modes() == ["reset", "gzip"]
    assert len(complaints) == 1
    assert "faults stay as they were" in complaints[0]
    path.write_text("")
    assert modes() == []
