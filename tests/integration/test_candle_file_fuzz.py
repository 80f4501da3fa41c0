"""Files of thirty shapes: each is answered or refused; nothing dies, hangs, grows or shows a traceback."""

from __future__ import annotations

import resource
import time
from collections import Counter

import pytest
from tests.integration.candle_file_shapes import SHAPES, draw

OPTIONS: tuple[list[str], ...] = ([], ["--json"], ["--time-unit", "s"], ["--symbol", "BTC-USD", "--timeframe", "1m"])
COMMANDS = {"gaps": {0}, "inspect": {0, 3}}
"""The commands, and the codes of their answers."""
REFUSED = {1, 78}
LONGEST_S = 5.0
MOST_GROWN_KB = 100 * 1024


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "count",
    [
        len(SHAPES) * 2,
        pytest.param(len(SHAPES) * 4, marks=pytest.mark.slow),
        pytest.param(5_000, marks=pytest.mark.soak),
    ],
    ids=["two of a shape", "four of a shape", "whole"],
)
def test_every_file_is_answered_or_refused(run_inside, tmp_path, command, count):
    folder = tmp_path / "files"
    folder.mkdir()
    # Loads what such files need.
    (folder / "BTC-USD_1m.parquet").write_bytes(b"PAR1")
    assert run_inside(command, folder).code == 1
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ended: Counter[tuple[str, int]] = Counter()
    for number in range(count):
        shape, name, content = draw(number)
        path = folder / name
        path.write_bytes(content)
        # Time of this process: other work on the machine is not a hang.
        began_s = time.process_time()
        done = run_inside(command, path, *OPTIONS[number // len(SHAPES) % len(OPTIONS)])
        took_s = time.process_time() - began_s
        said = f"file {number}, {shape}: {done.err[:500]}"
        assert done.code in COMMANDS[command] | REFUSED, said
        assert bool(done.err) is (done.code in REFUSED), said
        assert "Traceback" not in done.err, said
        assert all(line.isprintable() and len(line) < 2_000 for line in done.err.split("\n")), said
        # three lines and a count for each of some ten kinds
        assert done.err.count("\n") < 60, said
        assert took_s < LONGEST_S, said
        ended[shape, done.code] += 1
        path.unlink()
    assert {shape for shape, _ in ended} == set(SHAPES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < MOST_GROWN_KB
    # Usual files are read, and misleading ones are not.
    read = {shape for shape, code in ended if code in COMMANDS[command]}
    assert read >= {"whole", "packed", "shuffled", "repeated", "marked and of Windows"}
    assert not any(ended[shape, 0] for shape in ("zip", "utf-16", "nanoseconds", "without a header", "blank bomb"))
