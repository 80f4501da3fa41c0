"""The group of commands: found by name, listed with their help, each loaded alone."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import click
import pytest
from click.testing import CliRunner

from reconciler_engine.cli.app import COMMANDS, app


def test_help_lists_every_command_with_its_help():
    shown = CliRunner().invoke(app, ["--help"], terminal_width=500).output
    listed = dict(line.split(maxsplit=1) for line in shown.partition("Commands:\n")[2].splitlines())
    assert list(listed) == list(COMMANDS)
    assert all(len(words) > 20 for words in listed.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_examples(name):
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert f"  Examples:\n    reconciler-engine {name}" in result.output


def test_a_command_is_loaded_when_it_is_chosen():
    program = """
import sys
from reconciler_engine.cli.app import app
app(["scan", "--help"], standalone_mode=False)
loaded = [name for name in sys.modules if name.startswith("reconciler_engine.cli.")]
sys.exit("reconciler_engine.cli.start" in loaded or "reconciler_engine.cli.scan" not in loaded)
"""
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_the_module_runs_and_says_its_version():
    command = [sys.executable, "-m", "reconciler_engine", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"reconciler-engine {version('reconciler-engine')}\n"


def test_a_command_of_another_name_is_refused():
    result = CliRunner().invoke(app, ["strt"])
    assert (result.exit_code, "No such command 'strt'." in result.output) == (2, True)
    assert "Did you mean 'scan'?" in CliRunner().invoke(app, ["scna"]).output
    assert app.get_command(click.Context(app), "app") is None


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("cluster", "did you mean scaling?"),
        ("files", "did you mean archives?"),
        ("setings", "did you mean settings?"),
        ("xyzzy", "topics: archives, design, "),
    ],
)
def test_an_unknown_topic_of_the_manual_is_refused_with_the_closest(word, told):
    result = CliRunner().invoke(app, ["manual", word])
    assert result.exit_code == 2
    assert f"the manual has no topic '{word}'; {told}" in result.output
