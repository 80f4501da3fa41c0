"""Each command of each script is among the printed rights of an engine, and is tried at a start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from reconciler_engine.store.ready_question import READY_TEXT
from reconciler_engine.store.rights import Role, _commands, acl_rules
from reconciler_engine.store.scope import Layout, Scope

PACKAGE = Path(__file__).parents[2] / "python" / "reconciler_engine"
SCRIPTS = sorted(PACKAGE.rglob("*.lua"))
CALL = re.compile(r"redis\.p?call\('([A-Z]+)'")

TRIED_ELSEWHERE = {"INFO", "PUBLISH"}
"""Commands that a start does not try here: it asks INFO before, and a repair that nobody is told of is a repair."""


def commands_of(script: Path) -> set[str]:
    return set(CALL.findall(script.read_text()))


def allowed_to(role: Role) -> set[str]:
    rules = acl_rules(role, Layout.USER, 1, 1)
    return {rule[1:].partition("|")[0].upper() for rule in rules if rule.startswith("+")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_calls_nothing_that_the_printed_rights_lack(script):
    assert commands_of(script) <= allowed_to("engine")


@pytest.mark.parametrize("role", get_args(Role))
def test_the_gate_calls_nothing_that_the_printed_rights_of_a_role_lack(role):
    assert set(CALL.findall(READY_TEXT)) <= allowed_to(role)


def test_a_start_tries_the_commands_of_all_scripts():
    tried = {str(command[0]) for command in _commands(Scope(1, 1, "exchange"))}
    assert set().union(*map(commands_of, SCRIPTS)) - TRIED_ELSEWHERE <= tried
