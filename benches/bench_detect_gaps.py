"""`detect_gaps` beside its peers, workload by workload.

As part of the tests each runs once at 1e4 points and is compared. Timed, with the larger sizes:

    pytest benches/bench_detect_gaps.py --benchmark-enable --benchmark-group-by=param:shape,param:points

`python -m benches.table_detect_gaps` prints the same as ratios, interleaved, and goes up to 1e8.
"""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from benches.gap_boundary import BOUNDARY
from benches.gap_peers import peers_for
from benches.gap_workloads import MAKERS

from reconciler_engine import _native
from reconciler_engine.detection import IMPLEMENTATION, detect_gaps, pure
from reconciler_engine.detection.detect import detect_gaps_by

SMALL = 10_000
SIZES = (SMALL, 1_000_000, 10_000_000)
# Those that are installed (extra bench) and answer the shape rightly.
PEERS = [(shape, peer) for shape in MAKERS for peer in peers_for(MAKERS[shape](100))]
TRUSTED = {"none", "gaps10", "rand0.1", "rand10", "alt"}


def pytest_generate_tests(metafunc):
    if "points" in metafunc.fixturenames:
        disabled = metafunc.config.getoption("benchmark_disable")
        metafunc.parametrize("points", [SMALL] if disabled else SIZES, scope="module")


@pytest.fixture(autouse=True)
def _release_build():
    assert IMPLEMENTATION == "native"
    assert not _native.DEBUG_BUILD, "build without debug checks: their times mean nothing"


@pytest.fixture(scope="module")
def workload(shape, points):
    return MAKERS[shape](points)


@pytest.fixture
def agree(workload):
    """Compare an answer with ours, the reference of the benches; ours is held to the definition by the tests."""
    gaps = detect_gaps(workload.timestamps, workload.grid)

    def check(starts, counts):
        assert np.array_equal(starts, gaps.starts)
        assert np.array_equal(counts, gaps.counts)

    return check


@pytest.mark.parametrize("shape", MAKERS, scope="module")
def test_read_limit(benchmark, workload):
    """The fastest NumPy reduction over the same memory."""
    assert benchmark(workload.timestamps.sum) == workload.timestamps.sum()


@pytest.mark.parametrize("shape", MAKERS, scope="module")
def test_ours(benchmark, workload, agree):
    gaps = benchmark(detect_gaps, workload.timestamps, workload.grid)
    agree(gaps.starts, gaps.counts)


@pytest.mark.parametrize("shape", TRUSTED & set(MAKERS), scope="module")
def test_ours_trusted(benchmark, workload, agree):
    gaps = benchmark(detect_gaps, workload.timestamps, workload.grid, trusted=True)
    agree(gaps.starts, gaps.counts)


@pytest.mark.parametrize("shape", MAKERS, scope="module")
def test_ours_explicit(benchmark, workload, agree):
    expected = np.arange(workload.grid.start, workload.grid.stop, workload.grid.step)
    gaps = benchmark(detect_gaps, workload.timestamps, expected)
    agree(gaps.starts, gaps.counts)


@pytest.mark.parametrize(("shape", "peer"), PEERS, scope="module")
def test_peers(benchmark, workload, agree, peer):
    agree(*benchmark(peers_for(workload)[peer], workload.timestamps, workload.grid))


@pytest.mark.parametrize("shape", ["none", "rand10"], scope="module")
def test_pure_python(benchmark, shape):
    workload = MAKERS[shape](SMALL)
    gaps = benchmark(detect_gaps_by, pure, workload.timestamps, workload.grid, trusted=False)
    assert gaps == detect_gaps(workload.timestamps, workload.grid)


@pytest.mark.parametrize("row", BOUNDARY)
@pytest.mark.parametrize("way", ["ours", "other"])
def test_boundary(benchmark, points, row, way):
    """In and out of Python, compared where it is set up; the way without us is the last named."""
    runners = BOUNDARY[row](points)
    benchmark(runners["ours"] if way == "ours" else list(runners.values())[-1])


def test_smallest_call(benchmark):
    """Thirty candles of one series, as a scan asks for each."""
    timestamps, grid = array("q", range(0, 1_800_000, 60_000)), range(0, 1_800_000, 60_000)
    assert not benchmark(detect_gaps, timestamps, grid)
