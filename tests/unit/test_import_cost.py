"""Modules that an import loads: a library user of `detect_gaps` pays for no client, no validation, no command line."""

from __future__ import annotations

import subprocess
import sys

from reconciler_engine.cli.app import COMMANDS

HEAVY = {"click", "h11", "hiredis", "httpcore", "httpx", "pydantic", "redis", "rich", "ssl", "trio"}


def loaded_by(*command: str) -> set[str]:
    """Run Python with `command` and return the top-level names of what it imported."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True, timeout=60
    )
    # `import time:  self [us] | cumulative | imported package`
    names = (line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:"))
    return {name.partition(".")[0] for name in names}


def test_the_package_loads_nothing_heavy():
    statement = """
from reconciler_engine import Candle, Gap, Gaps, GapInfo, ReconciliationResult, Timeframe, detect_gaps
detect_gaps([0], range(0, 3, 1)).to_list()
"""
    assert loaded_by("-c", statement) & (HEAVY | {"numpy", "asyncio"}) == set()


def test_the_detector_does_without_what_takes_longer_to_load_than_itself():
    assert loaded_by("-c", "from reconciler_engine import detect_gaps") & {"dataclasses", "inspect", "ctypes"} == set()


def test_what_is_loaded_later_is_loaded_when_asked_for():
    assert "pydantic" in loaded_by("-c", "from reconciler_engine import ReconciliationConfig")


def test_help_loads_the_command_line_alone():
    loaded = loaded_by_commands(["--help"])
    assert loaded & HEAVY == {"click"}


def test_a_command_loads_no_client_before_it_runs():
    assert loaded_by_commands(*([name, "--help"] for name in COMMANDS)) & HEAVY == {"click"}


def test_a_question_about_the_cache_loads_no_http_client():
    cache = ["--symbols", "BTC-USD", "--redis-url", "redis://127.0.0.1:9"]
    questions = (
        ["ready", "BTC-USD", "1m", *cache[2:]],
        ["ready", "--all", *cache],
        ["plan", *cache],
        ["status", *cache[2:]],
    )
    assert loaded_by_commands(*questions) & {"httpx", "httpcore", "h11", "rich", "jwt"} == set()


def test_a_worker_loads_the_http_client_without_its_command_line():
    program = """
from reconciler_engine.program_start import spare_time_and_memory
spare_time_and_memory()
import reconciler_engine.engine.roles.worker
"""
    assert loaded_by("-c", program) & {"httpx", "click", "rich", "pygments"} == {"httpx"}


def loaded_by_commands(*calls: list[str]) -> set[str]:
    """Run `reconciler-engine` with each list of arguments; return the top-level names of what it imported."""
    program = f"""
import contextlib, sys
from reconciler_engine.cli import main
for arguments in {calls!r}:
    sys.argv[1:] = arguments
    with contextlib.suppress(SystemExit):
        main()
"""
    return loaded_by("-c", program)


def test_the_wrapper_of_the_embedded_server_loads_no_event_loop():
    assert loaded_by("-c", "import reconciler_engine.supervisor.server_program") & HEAVY == set()
