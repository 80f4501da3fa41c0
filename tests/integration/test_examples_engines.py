"""Examples for other engines: they find the gaps that one process finds, to the last one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reconciler_engine import GapSummary

EXAMPLES = Path(__file__).parents[2] / "python" / "examples"
STEP = 60_000
PATIENCE_S = 1_200
PROGRAM = """
import pickle, sys
import {name}
found = {name}.main({step}, sys.argv[1:])
sys.stdout.buffer.write(pickle.dumps(found))
"""

SIZES = pytest.mark.parametrize(
    "archive",
    [(9, 20_000), pytest.param((100, 10_000_000), marks=pytest.mark.soak)],
    ids=["small", "billion"],
    indirect=True,
)


def needs(package):
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is in the extra `bench`")


@pytest.fixture(scope="module")
def archive(tmp_path_factory, request):
    """Files of one series with gaps, within them and over their borders, and the summary of all their rows at once."""
    files, rows = request.param
    folder = tmp_path_factory.mktemp("archive")
    raw = np.lib.format.open_memmap(folder / "times.npy", "w+", np.int64, (files * rows,))
    draw = Random(files)
    start = used = 0
    paths = []
    for number in range(files):
        times = start + STEP * np.delete(np.arange(rows + 7), draw.sample(range(1, rows), 7))
        start += STEP * (rows + 7 + number % 3)
        raw[used : used + rows] = times
        used += rows
        paths.append(folder / f"{number:03}.parquet")
        symbols = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), ["BTC-USD"])
        encoded = {"time": "DELTA_BINARY_PACKED"}
        table = pa.table({"time": times, "symbol": symbols})
        pq.write_table(table, paths[-1], use_dictionary=["symbol"], column_encoding=encoded, row_group_size=1_000_000)
    raw.flush()
    whole = GapSummary.of(raw, STEP)
    del raw
    (folder / "times.npy").unlink()
    assert whole.count == files * rows
    assert len(whole.gaps) > files
    return paths, whole


def run(name, paths):
    """Run the `main` of an example in a process of its own; return its answer."""
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    command = [sys.executable, "-c", PROGRAM.format(name=name, step=STEP), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    return pickle.loads(done.stdout)


@needs("distributed")
@SIZES
def test_a_dask_cluster_of_processes_finds_the_same(archive):
    paths, whole = archive
    assert run("dask_gaps", paths) == whole


@needs("ray")
@SIZES
def test_ray_finds_the_same(archive):
    paths, whole = archive
    assert run("ray_gaps", paths) == whole


@SIZES
def test_a_group_by_of_polars_finds_the_same(archive):
    paths, whole = archive
    assert run("polars_gaps", paths) == {"BTC-USD": whole}


def test_a_group_by_of_polars_tells_symbols_apart(tmp_path):
    minutes = {"BTC-USD": [5, 0, 3], "ETH-USD": [2, 8, 4]}
    rows = [(symbol, STEP * minute) for symbol, own in minutes.items() for minute in own]
    symbols, times = zip(*rows, strict=True)
    pq.write_table(pa.table({"time": times, "symbol": symbols}), tmp_path / "both.parquet")
    found = run("polars_gaps", [tmp_path / "both.parquet"])
    assert found == {symbol: GapSummary.of([STEP * one for one in own], STEP) for symbol, own in minutes.items()}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*_gaps.py")), ids=lambda path: path.stem)
def test_an_example_is_read_at_a_glance(path):
    assert len(path.read_text().splitlines()) < 40
