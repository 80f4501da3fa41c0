"""Every test that the tables of tests/README.md name exists: the words after a file stand in the name of one test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
_FILE = re.compile(r"`((?:\w+/)*test_\w+\.py)(?:::(\w+))?`([^`|]*)")


def cells() -> Iterator[tuple[str, str]]:
    """The test column of every row of every table that has one: its header, and the cell."""
    header = ""
    for line in (TESTS / "README.md").read_text("utf-8").splitlines():
        if not line.startswith("|"):
            header = ""
            continue
        last = [cell.strip() for cell in line.strip("|").split("|")][-1]
        if not header:
            header = last
        elif header.startswith("test") and last.strip("-"):
            yield header, last


def named() -> list[tuple[str, str]]:
    """File, below this folder, and words of a test in it; no words where the whole file is meant."""
    found = []
    for header, cell in cells():
        listed = _FILE.findall(cell) or [(home, "", cell) for home in re.findall(r"`([^`]+)`", header)]
        assert listed, f"no test is named: {cell}"
        for file, name, words in listed:
            path = file if "/" in file else f"integration/{file}"
            found += [(path, part.strip()) for part in [name, *words.split(",")] if part.strip()] or [(path, "")]
    return found


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


@pytest.mark.parametrize(("file", "words"), named(), ids=lambda text: text.replace(" ", "-") or "whole")
def test_a_test_that_the_tables_name_exists(file, words):
    path = TESTS / file
    assert path.is_file(), f"no such file: {file}"
    names = re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
    assert any(all(word in name.split("_") for word in words_of(words)) for name in names), (
        f"no test of {file} has {words!r} in its name: {', '.join(names)}"
    )


def test_the_tables_name_tests():
    assert len(named()) > 50
