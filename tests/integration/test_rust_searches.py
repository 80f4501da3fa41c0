"""Searches of `rust/` that need a nightly compiler: Miri for undefined behaviour, fuzzing for wrong answers.

`pytest -m fuzz -n0 -s` takes an hour a target, or RECONCILER_FUZZ_SECONDS, and prints the counts. By default the same
cases run without Miri, and the drawn ones of `rust/gaps/tests/reference.rs` instead of the fuzzer's.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("RECONCILER_FUZZ_SECONDS", "3600"))
NIGHTLY = ("cargo", "+nightly")

pytestmark = pytest.mark.fuzz


def cargo(tool: str, *arguments: str) -> str:
    """Run a tool of the nightly compiler to its end and return what it said, or skip where there is none."""
    try:
        there = subprocess.run([*NIGHTLY, tool, "--version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        there = False
    if not there:
        pytest.skip(f"needs a nightly Rust with cargo {tool}")
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target" / tool)}
    done = subprocess.run(
        [*NIGHTLY, tool, *arguments],
        cwd=ROOT / "rust" / "gaps",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def test_miri_finds_no_undefined_behaviour():
    passed = re.findall(r"test result: ok\. (\d+) passed", cargo("miri", "test", "-p", "reconciler-gaps"))
    print(f"Miri: {sum(map(int, passed))} tests")  # noqa: T201  # the figures
    assert any(map(int, passed))


@pytest.mark.parametrize("target", ["detect", "member"])
def test_fuzzing_finds_no_wrong_answer(target, tmp_path):
    said = cargo("fuzz", "run", target, str(tmp_path), "--", f"-max_total_time={SECONDS}", "-max_len=600")
    done = re.search(r"Done (\d+) runs in (\d+) second", said)
    assert done, said[-2000:]
    print(f"{target}: {int(done[1]):,} runs in {done[2]} s")  # noqa: T201  # the figures
    assert int(done[1])
