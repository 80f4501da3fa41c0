"""`completion`: a shell that has read its script offers commands, options and values of the program."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler_engine.cli.app import COMMANDS
from reconciler_engine.cli.completion import SHELLS

PROGRAM = Path(sys.executable).with_name("reconciler-engine")
# Bash at Tab: it calls the function that the script named, and takes COMPREPLY.
ASK = r"""
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
told=$(complete -p reconciler-engine)
called=${told#* -F }
"${called%% *}" reconciler-engine
printf '%s\n' "${COMPREPLY[@]}"
"""
PATHS = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}


def script(shell):
    return subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True).stdout


def completes() -> bool:
    """Whether there is a bash that knows how to sort what is offered: 4.4 or later, unlike that of macOS."""
    is_young = '[ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -ge 44 ]'
    return shutil.which("bash") is not None and subprocess.run(["bash", "-c", is_young], check=False).returncode == 0


@pytest.mark.skipif(not completes(), reason="there is no bash of 4.4 or later")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("reconciler-engine ''", {*COMMANDS}),
        ("reconciler-engine sta", {"start", "status"}),
        ("reconciler-engine config ch", {"check"}),
        ("reconciler-engine completion ''", {*SHELLS}),
        ("reconciler-engine status --wat", {"--watch"}),
    ],
)
def test_bash_offers_what_the_program_takes(tmp_path, line, offered):
    (tmp_path / "script").write_text(script("bash"))
    ask = ["bash", "--norc", "-c", ASK, "bash", tmp_path / "script", *shlex.split(line)]
    done = subprocess.run(ask, capture_output=True, text=True, env=PATHS, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {*done.stdout.split()} == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_reads_its_script_without_a_fault(tmp_path, shell):
    text = script(shell)
    assert f"_RECONCILER_ENGINE_COMPLETE={shell}_complete " in text
    (tmp_path / "script").write_text(text)
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_shell_without_a_script_is_refused_with_those_that_have_one(run_inside):
    done = run_inside("completion", "tcsh")
    assert done.code == 2
    assert all(shell in done.err for shell in SHELLS)
