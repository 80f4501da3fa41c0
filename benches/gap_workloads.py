"""Named workloads for gap detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

START, STEP = 1_577_836_800_000, 60_000
SEED = 20240601


@dataclass(frozen=True)
class Workload:
    """Timestamps and the grid they are held against; `ordered` if sorted and without strangers."""

    name: str
    timestamps: np.ndarray[Any, Any]
    grid: range
    ordered: bool
    unique: bool = True


def _grid(points: int) -> range:
    return range(START, START + points * STEP, STEP)


def _full(points: int) -> np.ndarray[Any, Any]:
    return START + STEP * np.arange(points, dtype=np.int64)


def _without(points: int, runs: list[tuple[int, int]]) -> np.ndarray[Any, Any]:
    keep = np.ones(points, dtype=bool)
    for first, stop in runs:
        keep[first:stop] = False
    return _full(points)[keep]


def _rand(points: int, share: float) -> np.ndarray[Any, Any]:
    return _full(points)[np.random.default_rng(SEED).random(points) >= share]


def _dirty(points: int) -> np.ndarray[Any, Any]:
    """5 % out of range, 1 % twice, 1 % off the grid, 1 % missing; sorted."""
    random = np.random.default_rng(SEED)
    full = _full(points)
    kept = full[random.random(points) >= 0.01]
    shifted = np.where(random.random(len(kept)) < 0.01, kept + 1 + random.integers(0, STEP - 1, len(kept)), kept)
    twice = shifted[random.random(len(shifted)) < 0.01]
    outside = points // 40
    before = START - STEP * np.arange(1, outside + 1, dtype=np.int64)
    behind = START + STEP * (points + np.arange(outside, dtype=np.int64))
    return np.sort(np.concatenate([before, shifted, twice, behind]))


def _gaps10(points: int) -> np.ndarray[Any, Any]:
    width = max(points // 10_000, 1)
    inner = [(points * k // 9, points * k // 9 + width) for k in range(1, 9)]
    return _without(points, [(0, width), *inner, (points - width, points)])


def _pages(points: int) -> np.ndarray[Any, Any]:
    full = _full(points)
    return np.concatenate([full[at : at + 1000] for at in range(0, points, 1000)][::-1])


def _shuffled(points: int) -> np.ndarray[Any, Any]:
    full = _full(points)
    np.random.default_rng(SEED).shuffle(full)
    return full


MAKERS: dict[str, Callable[[int], Workload]] = {
    "none": lambda n: Workload("none", _full(n), _grid(n), ordered=True),
    "gaps10": lambda n: Workload("gaps10", _gaps10(n), _grid(n), ordered=True),
    "rand0.1": lambda n: Workload("rand0.1", _rand(n, 0.001), _grid(n), ordered=True),
    "rand10": lambda n: Workload("rand10", _rand(n, 0.1), _grid(n), ordered=True),
    "dups": lambda n: Workload("dups", np.repeat(_full(n // 2), 2), _grid(n // 2), ordered=True, unique=False),
    "alt": lambda n: Workload("alt", _full(n)[::2].copy(), _grid(n), ordered=True),
    "dirty": lambda n: Workload("dirty", _dirty(n), _grid(n), ordered=False),
    "offgrid": lambda n: Workload("offgrid", _full(n) + 1, _grid(n), ordered=False),
    "pages": lambda n: Workload("pages", _pages(n), _grid(n), ordered=False),
    "shuffled": lambda n: Workload("shuffled", _shuffled(n), _grid(n), ordered=False),
    "reversed": lambda n: Workload("reversed", _full(n)[::-1].copy(), _grid(n), ordered=False),
}
