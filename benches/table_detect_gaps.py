"""Print what `detect_gaps` takes beside the read limit and its peers.

    python -m benches.table_detect_gaps --points 1e7 --rounds 9 --json results.json

Every workload is answered by everybody and compared before it is timed; rounds are interleaved and medians taken, so
that what else the machine does falls on all alike. `limit` is the fastest NumPy reduction over the same memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benches.gap_workloads import MAKERS, Workload, peers_for

from reconciler_engine import _native
from reconciler_engine.detection import IMPLEMENTATION, detect_gaps

if TYPE_CHECKING:
    from collections.abc import Callable

TRUSTED = ("none", "gaps10", "rand0.1")


def contestants(workload: Workload) -> dict[str, Callable[[], Any]]:
    timestamps, grid = workload.timestamps, workload.grid
    runners: dict[str, Callable[[], Any]] = {
        "sum": timestamps.sum,
        "max": timestamps.max,
        "ours": lambda: detect_gaps(timestamps, grid),
    }
    if workload.name in TRUSTED:
        runners["trusted"] = lambda: detect_gaps(timestamps, grid, trusted=True)
    for name, peer in peers_for(workload).items():
        runners[name] = lambda peer=peer: peer(timestamps, grid)  # type: ignore[misc]
    return runners


def check(workload: Workload, runners: dict[str, Callable[[], Any]]) -> int:
    """Compare all answers; return the number of gaps."""
    gaps = runners["ours"]()
    for name, run in runners.items():
        if name in ("sum", "max", "ours"):
            continue
        answer = run()
        starts, counts = (answer.starts, answer.counts) if name == "trusted" else answer
        if not (np.array_equal(starts, gaps.starts) and np.array_equal(counts, gaps.counts)):
            raise SystemExit(f"{name} answers {workload.name} differently")
    return len(gaps)


def measure(runners: dict[str, Callable[[], Any]], rounds: int, repeat: int) -> dict[str, float]:
    """Return the median time of each runner in seconds, of interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            begin = time.perf_counter()
            for _ in range(repeat):
                run()
            times[name].append((time.perf_counter() - begin) / repeat)
    return {name: statistics.median(taken) for name, taken in times.items()}


def row(workload: Workload, points: int, rounds: int) -> dict[str, Any]:
    runners = contestants(workload)
    found = check(workload, runners)
    medians = measure(runners, rounds, repeat=max(1, 200_000 // points))
    limit = min(medians.pop("sum"), medians.pop("max"))
    ours, trusted = medians.pop("ours"), medians.pop("trusted", None)
    best = min(medians, key=lambda name: medians[name])
    return {
        "workload": workload.name,
        "points": points,
        "gaps": found,
        "limit_s": limit,
        "ours_s": ours,
        "trusted_s": trusted,
        "peers_s": medians,
        "best_peer": best,
    }


def show(result: dict[str, Any]) -> str:
    ours, best = result["ours_s"], result["peers_s"][result["best_peer"]]
    diff = result["peers_s"].get("numpy_diff")
    trusted = result["trusted_s"]
    return (
        f"{result['workload']:9} {result['points']:>11,} {result['gaps']:>10,} {result['limit_s'] * 1e3:>9.3f} "
        f"{ours * 1e3:>9.3f} {ours / result['limit_s']:>7.2f} {best / ours:>9.2f} {result['best_peer']:15}"
        f"{diff / ours if diff else float('nan'):>8.2f} {trusted * 1e6 if trusted else float('nan'):>11.1f}"
    )


def processor() -> str:
    """Name the processor, as the system does."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=float, nargs="+", default=[1e4, 1e6, 1e7], help="grid points (1e8 takes 4 GB)")
    parser.add_argument("--workloads", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the numbers here, for chart_detect_gaps.py")
    options = parser.parse_args()
    if _native.DEBUG_BUILD or IMPLEMENTATION != "native":
        raise SystemExit("this is a debug build, or not the native one: its times mean nothing")
    print(
        "workload       points       gaps  limit ms   ours ms ours/lim  peer/ours best peer      diff/ours  trusted us"
    )
    results = []
    for points in map(int, options.points):
        for name in options.workloads:
            results.append(row(MAKERS[name](points), points, options.rounds))
            print(show(results[-1]), flush=True)
            gc.collect()
    if options.json:
        machine = {"processor": processor(), "Python": platform.python_version(), "NumPy": np.__version__}
        options.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
