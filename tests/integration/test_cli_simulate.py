"""`simulate` as a process of its own: faults, keys, log, and a clean end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

COMMAND = [sys.executable, "-c", "from reconciler_engine.cli import main; main()", "simulate"]
TIME = "/api/v3/brokerage/time"


def test_simulator_serves_logs_and_plays_a_faults_file_that_changes(tmp_path: Path) -> None:
    faults, log = tmp_path / "faults.toml", tmp_path / "requests.jsonl"
    faults.write_text('[[fault]]\nname = "down"\nmode = "status"\nstatus = 503\npath = "*/time"\n')
    command = [*COMMAND, "--faults", str(faults), "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("listening on ").strip()
            with httpx.Client(base_url=url, trust_env=False, timeout=10) as client:
                assert client.get(TIME).status_code == 503
                faults.write_text("")
                assert client.get(TIME).status_code == 200
                # A wrong change is told, and changes nothing.
                faults.write_text("nonsense")
                assert client.get(TIME).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "faults stay as they were" in said
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["status"], line["fault"]) for line in lines] == [(503, "down"), (200, None), (200, None)]


@pytest.mark.parametrize(
    ("option", "content", "problem"),
    [
        ("--faults", '[[fault]]\nmode = "explode"\nfirst = 0\n', "mode 'explode' is none of"),
        ("--faults", "a" + ".a" * 100_000 + " = 1\n", "is over 1 MiB, or has a line with over 250 dots"),
        ("--faults", "#" * 1_100_000, "is over 1 MiB"),
        ("--faults", "a = " + "[" * 100_000, "recursion"),
        ("--key-file", '{"name": "k", "privateKey": "c2VjcmV0"}', "is not a JSON object with name and privateKey"),
    ],
    ids=["mode", "dots", "size", "nesting", "key"],
)
def test_bad_file_is_a_fault_of_the_configuration(run_inside, tmp_path, option, content, problem):
    path = tmp_path / "file"
    path.write_text(content)
    done = run_inside("simulate", option, path)
    assert done.code == 78
    assert problem in done.err
    assert "c2VjcmV0" not in done.err


@pytest.mark.parametrize(
    ("last", "problem"), [("0,1,0,0,1", "is not above 0"), ("1,1e12,1,1e12,1", "below 1e12")], ids=["zero", "huge"]
)
def test_a_replay_that_ends_beyond_all_prices_is_told_in_a_line(run_inside, tmp_path, last, problem):
    (tmp_path / "BTC-USD_1m.csv").write_text(f"start_ms,open,high,low,close,volume\n60000,{last}\n")
    done = run_inside("simulate", "--replay", tmp_path)
    assert (done.code, done.out) == (78, "")
    assert problem in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("simulate", "--port", "70000"), "'--port': '70000' is not allowed; allowed: a whole number, 0 to 65535"),
        (("simulate", "--seed", "9" * 5_000), f"'--seed': '{'9' * 60}' is not allowed"),
        (("simulate", "--public-rate", "much"), "'--public-rate': 'much' is not allowed; allowed: a number"),
        (("simulate", "--clock-rate", ""), "'--clock-rate': '' is not allowed; allowed: a number"),
        (("journal", "--last", "0"), "'--last': '0' is not allowed; allowed: a whole number, 1 to 10000"),
    ],
)
def test_a_number_that_is_refused_is_told_with_what_is_allowed(run_inside, command, told):
    done = run_inside(*command)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
