"""Run the examples of the README and the manual as they stand; only addresses and pace are the tests' own."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis as redis_py
from benches.chart_detect_gaps import chart
from tests.integration.conftest import clean_environment, find_node

from reconciler_engine import AsyncioReconciliationService, ReconciliationService
from reconciler_engine.cli.app import COMMANDS as COMMAND_NAMES
from reconciler_engine.cli.manual import PAGES
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.ready_question import READY_TEXT
from reconciler_engine.store.scope import Layout, Scope

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text("utf-8")
DOCUMENTS = [README, *(page.read_text("utf-8") for page in PAGES.values())]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shell_lines(text: str) -> list[str]:
    """Commands of the shell blocks of a document, without comments."""
    blocks = [block for language, block in FENCED.findall(text) if language == "sh"]
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


BLOCKS = [block for text in DOCUMENTS for block in FENCED.findall(text)]
JAVASCRIPT = [text for language, text in BLOCKS if language == "js"]
PYTHON = [text for language, text in BLOCKS if language == "python"]
LINES = [line for text in DOCUMENTS for line in shell_lines(text)]
COMMANDS = sorted({line for line in LINES if line.startswith("reconciler-engine ")})
REDIS_URL = "redis://localhost:6379/0"
PATIENCE_S = 60
# Commands that run until they are told to stop, and the one that shows them.
LONG = {"start", "simulate", "status"}
# Those that speak of one file, in the order of the page.
FILED = [
    line
    for line in shell_lines(PAGES["settings"].read_text("utf-8"))
    if line.startswith(("reconciler-engine config ", "reconciler-engine doctor "))
]


@pytest.fixture
def own_servers(redis_url, start_exchange, tmp_path):
    """Settings that stand for the reader's own Redis, exchange and home."""
    exchange = start_exchange(public_rate=0)
    return {
        "RECONCILER_REDIS_URL": redis_url,
        "RECONCILER_BASE_URL": exchange.url,
        "RECONCILER_BATCH_SIZE": "50",
        "RECONCILER_WORKERS": "1",
        "XDG_DATA_HOME": str(tmp_path / "home"),
    }


def test_every_block_is_of_a_kind_that_is_run():
    assert {language for language, _ in BLOCKS} <= {"sh", "python", "js", "toml", "ini"}
    assert PYTHON
    assert COMMANDS


def test_the_service_s_unit_starts_the_engine_by_flags_that_it_has(run_inside):
    (unit,) = (text for language, text in BLOCKS if language == "ini")
    (line,) = re.findall(r"^ExecStart=\S+/reconciler-engine (.+)$", unit, re.MULTILINE)
    command, *flags = [word for word in line.split() if not word.startswith("/")]
    known = run_inside(command, "--help").out
    assert command == "start"
    assert flags
    assert all(flag in known for flag in flags)


@pytest.mark.parametrize("text", PYTHON, ids=range(len(PYTHON)))
def test_python_examples_run(text, own_servers, tmp_path):
    text = text.replace(REDIS_URL, own_servers["RECONCILER_REDIS_URL"])
    text = text.replace("Config(", f"Config(base_url={own_servers['RECONCILER_BASE_URL']!r}, ")
    # The day of four series is dozens of requests, which take the public pace a quarter of a minute.
    text = text.replace("batch_delay_ms=1_000", "batch_delay_ms=50")
    script = tmp_path / "example.py"
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    if "perform_gap_scan" in text:
        assert re.fullmatch(r"\d+ of \d+ missing candles filled, 0 left\n", done.stdout)


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="there is no redis-cli")
def test_the_line_of_redis_cli_asks_the_gate(redis_url, tmp_path):
    (line,) = (line for line in LINES if line.startswith("redis-cli "))
    (tmp_path / "ready.lua").write_text(READY_TEXT)
    command, *words = shlex.split(line)
    server = ("-s", redis_url.removeprefix("unix://"))
    done = subprocess.run([command, *server, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize("text", JAVASCRIPT, ids=range(len(JAVASCRIPT)))
def test_javascript_examples_run(text, own_servers, tmp_path):
    node = find_node("redis")
    path = own_servers["RECONCILER_REDIS_URL"].removeprefix("unix://")
    (tmp_path / "ready.lua").write_text(READY_TEXT)
    (tmp_path / "example.js").write_text(text.replace(f'url: "{REDIS_URL}"', f"socket: {{ path: {path!r} }}"))
    done = subprocess.run(
        [node, "example.js"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "not ready\n", "")


def test_the_services_own_examples_are_the_manuals():
    for service in (ReconciliationService, AsyncioReconciliationService):
        (example,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(service) or "", re.DOTALL)
        assert example in PYTHON


@pytest.mark.parametrize("layout", [Layout.USER, pytest.param(Layout.EXCHANGE, marks=pytest.mark.soak)])
def test_the_first_command_shows_gaps_that_close(start_process, run_inside, tmp_path, layout):
    line = LINES[0]
    install, _, start = line.partition(" && ")
    assert install == "pip install '.[embedded]'"
    settings = {"XDG_DATA_HOME": str(tmp_path), "RECONCILER_WORKERS": "1"}
    if layout is not Layout.USER:
        settings["RECONCILER_LAYOUT"] = layout.value
    engine = start_process(*shlex.split(start)[1:], environment=clean_environment(**settings))
    address = engine.wait_event("cache")["address"]
    told = engine.wait_event("verification")["arithmetic"]
    assert told.startswith("about 39 requests an hour for 16 series, ")
    done = engine.wait_event("pass done", job="full_reconcile", simulated=True)
    assert done["gaps_found"] == done["gaps_filled"] > 0
    assert done["mismatched"] >= done["repaired"] > 0
    verified = engine.wait_event("pass done", job="verify", simulated=True)
    assert [one["errors"] for one in (done, verified)] == [[], []]
    told = run_inside("status", **settings)
    assert told.code == 0, told.err
    assert told.out.startswith("SIMULATED reconciler-engine start")
    with redis_py.Redis.from_url(address) as reader:
        held = {
            one for one in Layout if reader.exists(Scope(1, 1, "", one).candle_key(Series("BTC-USD", Timeframe.M1)))
        }
    assert held == {layout}
    assert engine.stop() == 0


@pytest.fixture
def archive(tmp_path):
    """The candle files of which the page speaks."""
    values = ",1,1,1,1,1\n"
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "BTC-USD_1m.csv").write_text(f"start_ms,open,high,low,close,volume\n0{values}60000{values}")
    (tmp_path / "Coinbase_BTCUSD_1h.csv").write_text(f"unix,open,high,low,close,volume\n1767225600{values}")
    (tmp_path / "dump.csv").write_text(f"when,open,high,low,close,volume\n2026-01-01 13:00{values}")
    lake = tmp_path / "lake" / "symbol=BTC-USD" / "timeframe=1m"
    lake.mkdir(parents=True)
    pq.write_table(pa.table({"start_ms": [0, 60_000]}), lake / "part-0.parquet")


@pytest.mark.usefixtures("archive")
@pytest.mark.parametrize("line", [line for line in COMMANDS if line.split()[1] not in LONG and line not in FILED])
def test_commands_run_as_written(line, own_servers, run_inside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_inside(*shlex.split(line)[1:], **own_servers)
    # 3: slots are missing, which is what was asked
    assert done.code in (0, 3), done.err
    # A backfill that takes longer than ten seconds says how far it is; no engine has written here yet.
    expected = (" slots/s, ", "no engine wrote candles:")
    assert [told for told in done.err.splitlines() if not any(word in told for word in expected)] == []


def test_a_settings_file_is_begun_checked_and_shown_as_written(own_servers, run_inside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [line.split()[1:3] for line in FILED] == [
        ["config", "init"], ["config", "check"], ["config", "show"], ["doctor", "--config"],
    ]  # fmt: skip
    for line in FILED:
        done = run_inside(*shlex.split(line)[1:], **own_servers)
        assert (done.code, done.err) == (0, ""), done.out


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.split()[1] == "start"])
def test_the_engine_runs_as_written_and_is_seen(line, own_servers, start_process, run_inside):
    engine = start_process(*shlex.split(line)[1:], environment=clean_environment(**own_servers))
    assert engine.wait_event("pass done", job="full_reconcile")["unresolved"] == 0
    seen = [run_inside(*shlex.split(other)[1:], **own_servers) for other in COMMANDS if other.split()[1] == "status"]
    assert seen
    assert all(told.code == 0 for told in seen), seen
    assert engine.stop() == 0


def test_the_picture_is_that_of_the_recorded_numbers():
    picture = chart(json.loads((ROOT / "benches" / "detect_gaps.json").read_text("utf-8")))
    assert f"\n```\n{picture}\n```\n" in README, f"write there:\n{picture}"


def test_the_readme_lists_each_page_of_the_manual():
    listed = re.findall(r"\| \[`(\w+)`\]\((\S+)\)", README)
    assert sorted(listed) == [(topic, f"python/reconciler_engine/manual/{topic}.md") for topic in PAGES]


def test_the_readme_has_a_row_for_each_command():
    rows = re.findall(r"^\| `(\w+)", README.partition("## Commands")[2].partition("\n## ")[0], re.MULTILINE)
    assert sorted(set(rows)) == sorted(COMMAND_NAMES)
    assert len(README.splitlines()) <= 200


def test_the_checks_are_those_of_the_project():
    """They are run by .ci/run, of which this test is a part."""
    run = (ROOT / ".ci" / "run").read_text("utf-8")
    lines = shell_lines(CONTRIBUTING)
    for line in lines[lines.index("pytest") + 1 :]:
        for command in line.split(" && "):
            words = command.split("--all-targets")[0].split(" -- ")[0].strip()
            measures = words.startswith(("pytest", "python -m benches.", "bash .ci/run"))
            assert measures or words in run, f"{command} is not in .ci/run"
