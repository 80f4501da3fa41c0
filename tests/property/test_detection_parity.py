"""Native and pure detection agree on answers, errors and indices; gaps and candles partition the grid."""

from __future__ import annotations

import struct
from array import array
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler_engine.detection import native, pure
from reconciler_engine.detection.detect import detect_gaps_by

MIN, MAX = -(2**63), 2**63 - 1
LENGTHS = st.one_of(st.sampled_from([0, 1, 2, 62, 63, 64, 65, 66, 127, 128, 129, 200]), st.integers(0, 300))
STEPS = st.one_of(
    st.sampled_from([1, 2, 3, 60_000, 86_400_000, 2**40, 2**54 - 1, 2**62, 2**63, 2**64 - 1]),
    st.integers(1, 10**6),
)


@st.composite
def grids(draw):
    """A range whose points are int64 values, often at an end of int64."""
    length, step = draw(LENGTHS), draw(STEPS)
    length = min(length, (2**64 - 1) // step + 1)
    span = step * max(length - 1, 0)
    start = draw(st.one_of(st.just(MIN), st.just(MAX - span), st.integers(MIN, MAX - span), st.just(-span // 2)))
    return range(start, start + step * length, step)


@st.composite
def cases(draw):
    """A grid and timestamps mostly on it: runs kept and dropped, repeated, shifted, disordered."""
    grid = draw(grids())
    timestamps: list[int] = []
    position = 0
    while position < len(grid):
        keep, run = draw(st.tuples(st.booleans(), st.sampled_from([1, 1, 2, 3, 64, 65, 300])))
        if keep:
            timestamps.extend(grid[position : position + run])
        position += run
    if draw(st.booleans()):
        timestamps = timestamps[::2]
    strays = st.one_of(
        st.integers(MIN, MAX),
        st.sampled_from([MIN, MAX, -1, 0, 1]),
        st.sampled_from(timestamps or [0]),
        st.sampled_from(timestamps or [0]).map(lambda instant: min(instant + 1, MAX)),
    )
    timestamps.extend(draw(st.lists(strays, max_size=8)))
    order = draw(st.sampled_from(["sorted", "sorted", "sorted", "reversed", "pages", "as_is"]))
    if order != "as_is":
        timestamps.sort(reverse=order == "reversed")
    if order == "pages":
        timestamps = [instant for at in range(0, len(timestamps), 70)[::-1] for instant in timestamps[at : at + 70]]
    return timestamps, grid


@given(cases(), st.sampled_from([list, lambda numbers: array("q", numbers)]))
def test_both_find_the_same_gaps(case, container):
    timestamps, grid = case
    answer = detect_gaps_by(pure, container(timestamps), grid, trusted=False)
    assert detect_gaps_by(native, container(timestamps), grid, trusted=False) == answer
    for detector in (native, pure):
        assert detect_gaps_by(detector, container(timestamps), array("q", grid), trusted=False) == answer


@given(cases())
def test_a_kept_promise_changes_nothing(case):
    timestamps, grid = case
    promised = array("q", sorted({instant for instant in timestamps if instant in grid}))
    for detector in (native, pure):
        trusted = detect_gaps_by(detector, promised, grid, trusted=True)
        assert trusted == detect_gaps_by(detector, promised, grid, trusted=False)


@given(cases())
def test_gaps_and_candles_partition_the_grid(case):
    timestamps, grid = case
    gaps = detect_gaps_by(native, timestamps, grid, trusted=False)
    missing = [instant for gap in gaps for instant in range(gap.start, gap.end + 1, grid.step)]
    assert sorted([*missing, *(set(timestamps) & set(grid))]) == list(grid)
    assert gaps.missing == len(missing)
    assert all(following.start - gap.end > grid.step for gap, following in pairwise(gaps))
    assert not detect_gaps_by(native, [*timestamps, *missing], grid, trusted=False)


@given(
    st.lists(st.integers(MIN, MAX) | st.integers(-20, 20), max_size=30),
    st.lists(st.integers(-20, 20) | st.sampled_from([MIN, MAX]), unique=True, max_size=30).map(sorted),
)
def test_both_agree_on_explicit_grids(timestamps, expected):
    answer = detect_gaps_by(pure, timestamps, expected, trusted=False)
    assert detect_gaps_by(native, timestamps, expected, trusted=False) == answer
    missing = [instant for gap in answer for instant in expected if gap.start <= instant <= gap.end]
    assert missing == [instant for instant in expected if instant not in timestamps]


@st.composite
def buffers(draw):
    """Any bytes, or numbers that mostly ascend, as items of any format, at any stride."""
    some = st.lists(st.integers(-400, 400) | st.integers(MIN, MAX), max_size=300)
    content = draw(
        st.one_of(st.binary(max_size=100), st.builds(lambda numbers: array("q", sorted(numbers)).tobytes(), some))
    )
    letter = draw(st.sampled_from("qqqqlnNQdfiIhHbBc?"))
    size = struct.calcsize(letter)
    items = memoryview(content[: len(content) // size * size]).cast(letter)
    return items[:: draw(st.sampled_from([1, 1, 1, 2, -1]))]


ANYTHING = st.one_of(
    st.integers(-(2**65), 2**65),
    st.booleans(),
    st.floats(),
    st.none(),
    st.text(max_size=2),
    st.binary(max_size=2),
)


@given(
    timestamps=st.one_of(ANYTHING, st.lists(st.one_of(st.integers(-3, 3), ANYTHING), max_size=5)),
    expected=st.one_of(
        ANYTHING,
        st.lists(st.one_of(st.integers(-3, 3), ANYTHING), max_size=5),
        st.builds(
            range,
            st.integers(-(2**65), 2**65),
            st.integers(-(2**65), 2**65),
            st.sampled_from([-1, 1, 2**60, 2**64]),
        ),
    ),
    trusted=st.booleans(),
)
@example(timestamps=[0, True], expected=[0, 1], trusted=False)
@example(timestamps=[3, 2**64], expected=range(3), trusted=False)
def test_both_refuse_in_the_same_words(timestamps, expected, trusted):
    assert outcome(native, timestamps, expected, trusted=trusted) == outcome(
        pure, timestamps, expected, trusted=trusted
    )


@given(
    timestamps=buffers(),
    expected=st.one_of(buffers(), st.builds(range, st.integers(-600, 600), st.integers(-600, 600))),
)
@example(timestamps=memoryview(b"").cast("q"), expected=memoryview(b"").cast("q")[::-1])
def test_both_read_any_bytes_alike(timestamps, expected):
    assert outcome(native, timestamps, expected) == outcome(pure, timestamps, expected)


def outcome(detector, timestamps, expected, *, trusted=False):
    try:
        return detect_gaps_by(detector, timestamps, expected, trusted=trusted).to_list()
    except (TypeError, ValueError) as refusal:
        return type(refusal), str(refusal)
