"""Answers of `detect_gaps`, example by example, in both implementations."""

from __future__ import annotations

import pickle
from array import array

import numpy as np
import pytest

from reconciler_engine.detection import Gap

MINUTE = 60_000
MIN, MAX = -(2**63), 2**63 - 1


def minutes(*numbers: int) -> list[int]:
    return [MINUTE * number for number in numbers]


GRID = range(0, 10 * MINUTE, MINUTE)

EXAMPLES = {
    "complete": (minutes(*range(10)), GRID, []),
    "nothing_there": ([], GRID, [(0, 9 * MINUTE, 10)]),
    "head": (minutes(*range(2, 10)), GRID, [(0, MINUTE, 2)]),
    "tail": (minutes(*range(8)), GRID, [(8 * MINUTE, 9 * MINUTE, 2)]),
    "interior": (minutes(0, 1, 5, 6, 7, 8, 9), GRID, [(2 * MINUTE, 4 * MINUTE, 3)]),
    "alternating": (minutes(1, 3), range(0, 4 * MINUTE, MINUTE), [(0, 0, 1), (2 * MINUTE, 2 * MINUTE, 1)]),
    "unsorted": (minutes(9, 3, 0), range(0, 4 * MINUTE, MINUTE), [(MINUTE, 2 * MINUTE, 2)]),
    "duplicates_hide_nothing": (minutes(0, 0, 2, 2), range(0, 3 * MINUTE, MINUTE), [(MINUTE, MINUTE, 1)]),
    "off_grid": ([1, MINUTE + 1], range(0, 2 * MINUTE, MINUTE), [(0, MINUTE, 2)]),
    "out_of_range": ([MIN, -MINUTE, 10 * MINUTE, MAX], GRID, [(0, 9 * MINUTE, 10)]),
    "empty_grid": (minutes(0, 1), range(5, 5), []),
    "empty_grid_outside_int64": ([], range(2**70, 2**70), []),
    "one_point_there": ([7], range(7, 8), []),
    "one_point_missing": ([8], range(7, 8), [(7, 7, 1)]),
    "one_point_huge_step": ([], range(7, 8, 2**80), [(7, 7, 1)]),
    "two_points_widest_step": ([MAX], range(MIN, MAX + 1, 2**64 - 1), [(MIN, MIN, 1)]),
    "end_of_int64": ([MAX - 1], range(MAX - 2, MAX + 1), [(MAX - 2, MAX - 2, 1), (MAX, MAX, 1)]),
    "start_of_int64": ([MIN + 1], range(MIN, MIN + 3), [(MIN, MIN, 1), (MIN + 2, MIN + 2, 1)]),
    "longest_grid": ([0], range(MIN, MAX - 1, 2), [(MIN, -2, 2**62), (2, MAX - 3, 2**62 - 2)]),
    "longest_grid_unsorted": ([2, 0], range(MIN, MAX - 1, 2), [(MIN, -2, 2**62), (4, MAX - 3, 2**62 - 3)]),
    "negative": ([-2], range(-3, 0), [(-3, -3, 1), (-1, -1, 1)]),
}
EXPLICIT = {
    "irregular": ([10, 25], [0, 10, 15, 20, 25, 100], [(0, 0, 1), (15, 20, 2), (100, 100, 1)]),
    "irregular_unsorted": ([25, 10, 10, 7], [0, 10, 15, 20, 25], [(0, 0, 1), (15, 20, 2)]),
    "nothing_expected": ([1, 2], [], []),
    "nothing_there_explicit": ([], [MIN, 0, MAX], [(MIN, MAX, 3)]),
    "ends_of_int64": ([MAX, MIN], [MIN, 0, MAX], [(0, 0, 1)]),
}


@pytest.fixture(params=["list", "array", "numpy", "generator"])
def container(request):
    return {
        "list": list,
        "array": lambda numbers: array("q", numbers),
        "numpy": lambda numbers: np.array(numbers, dtype=np.int64),
        "generator": iter,
    }[request.param]


@pytest.mark.parametrize("name", EXAMPLES)
def test_regular(detect, container, name):
    timestamps, expected, answer = EXAMPLES[name]
    gaps = detect(container(timestamps), expected)
    assert gaps.to_list() == answer
    assert list(gaps) == [Gap(*row) for row in answer]
    assert gaps.missing == sum(row[2] for row in answer)


@pytest.mark.parametrize("name", EXAMPLES)
def test_regular_grid_given_point_by_point(detect, container, name):
    timestamps, expected, answer = EXAMPLES[name]
    if name.startswith("longest_grid"):
        expected, answer = range(-4, 4, 2), [(-4, -2, 2), (2, 2, 1)]
        timestamps = [0]
    assert detect(container(timestamps), list(expected)).to_list() == answer


@pytest.mark.parametrize("name", EXPLICIT)
def test_explicit(detect, container, name):
    timestamps, expected, answer = EXPLICIT[name]
    gaps = detect(container(timestamps), container(expected))
    assert gaps.to_list() == answer
    assert gaps.missing == sum(row[2] for row in answer)


def test_datetime64_ms_is_read_in_place(detect):
    instants = np.array(["2024-06-01T00:00", "NaT", "2024-06-01T00:02"], dtype="datetime64[ms]")
    start = 1_717_200_000_000
    gaps = detect(instants, range(start, start + 3 * MINUTE, MINUTE))
    assert gaps.to_list() == [(start + MINUTE, start + MINUTE, 1)]


def test_unaligned_buffer(detect):
    shifted = np.frombuffer(b"\0" + np.arange(0, 5, dtype=np.int64).tobytes(), dtype=np.int64, offset=1)
    assert not shifted.flags.aligned
    assert detect(shifted, range(6)).to_list() == [(5, 5, 1)]


def test_integers_of_other_libraries_in_a_list(detect):
    assert detect([np.int64(0), np.int32(2)], range(3)).to_list() == [(1, 1, 1)]


def test_minus_one_in_a_list(detect):
    assert detect([-1, 0], range(-2, 1)).to_list() == [(-2, -2, 1)]


def test_gaps_is_a_sequence(detect):
    gaps = detect([2, 4, 8], range(10))
    assert len(gaps) == 4
    assert gaps[0] == (0, 1, 2) == gaps[-4]
    assert gaps[-1] == Gap(9, 9, 1)
    assert gaps[1:3].to_list() == [(3, 3, 1), (5, 7, 3)]
    assert gaps[::2].to_list() == [(0, 1, 2), (5, 7, 3)]
    assert gaps[1:3].missing == 4
    assert not gaps[4:]
    assert next(reversed(gaps)) == Gap(9, 9, 1)
    assert Gap(5, 7, 3) in gaps
    with pytest.raises(IndexError, match=r"gap index 4 out of range: there are 4"):
        gaps[4]
    with pytest.raises(ValueError, match="a slice with a negative step"):
        gaps[::-1]


def test_gaps_columns_share_memory(detect):
    gaps = detect([2, 4, 8], range(10))
    for column, answer in (
        (gaps.starts, [0, 3, 5, 9]),
        (gaps.ends, [1, 3, 7, 9]),
        (gaps.counts, [2, 1, 3, 1]),
    ):
        assert column.readonly
        assert column.format == "q"
        shared = np.asarray(column)
        assert shared.tolist() == answer
        assert np.shares_memory(shared, np.asarray(column))
        assert not shared.flags.writeable
    assert gaps.ends is gaps.ends


def test_gaps_outlive_their_input(detect):
    timestamps = np.array([0, 2], dtype=np.int64)
    gaps = detect(timestamps, range(4))
    timestamps[:] = 99
    del timestamps
    assert gaps.to_list() == [(1, 1, 1), (3, 3, 1)]


@pytest.mark.parametrize("expected", [range(10), [0, 1, 5, 9]])
def test_gaps_pickle(detect, expected):
    gaps = detect([1], expected)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(gaps, protocol))
        assert copy == gaps
        assert copy.missing == gaps.missing
        assert copy.to_list() == gaps.to_list()


def test_gaps_equality_and_repr(detect):
    gaps = detect([1, 3, 5, 7], range(9))
    assert gaps == detect([7, 5, 3, 1], list(range(9)))
    assert gaps != detect([1, 3, 5], range(9))
    assert gaps != gaps.to_list()
    assert repr(gaps) == (
        "<Gaps: 5 gaps, 5 missing [Gap(start=0, end=0, count=1), Gap(start=2, end=2, count=1), "
        "Gap(start=4, end=4, count=1), ... 2 more]>"
    )
    assert repr(detect([0], range(1))) == "<Gaps: 0 gaps, 0 missing []>"
    with pytest.raises(TypeError, match="unhashable"):
        hash(gaps)
