"""Print what `detect_gaps` takes beside the read limit and its peers.

    python -m benches.table_detect_gaps
    python -m benches.table_detect_gaps --record    # and the README's picture, from 1e7 points

Every workload is answered by everybody and compared before it is timed; rounds are interleaved and medians taken, so
that other work of the machine falls on all alike. `limit` is the fastest NumPy reduction over the same memory,
`trusted` the same call with that promise, `cold` again after the caches were flushed, `threads` as many as help, and
`thr/lim` that beside the read limit of as many. Below: the cost of bringing a million values in and a million gaps out.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benches.chart_detect_gaps import chart
from benches.gap_boundary import BOUNDARY
from benches.gap_peers import peers_for
from benches.gap_workloads import MAKERS, Workload

from reconciler_engine import _native
from reconciler_engine.detection import IMPLEMENTATION, detect_gaps

if TYPE_CHECKING:
    from collections.abc import Callable

TRUSTED = ("none", "gaps10", "rand0.1")
# Smaller input is in a cache wherever it is used.
COLD_FROM = 10_000_000
# Written between cold calls; several times any cache.
FLUSHED = np.zeros(1 << 25, np.int64)
# From here on sorted input is split between threads.
SPLIT_FROM = 10_000_000
BOUNDARY_ITEMS, SET_POINTS = 1_000_000, 10_000_000
PEERS = ("numpy", "numba", "pandas", "polars", "pyarrow", "duckdb", "datafusion", "chdb")
RECORD = Path(__file__).with_name("detect_gaps.json")
READERS = ThreadPoolExecutor(os.cpu_count())
# Their threads stay busy for a while after an answer: timed apart, and seldom, since they take ten times as long.
ENGINES = ("duckdb", "datafusion", "chdb")
ENGINE_ROUNDS = 3
OURS = ("sum", "max", "sums", "ours", "threads", "trusted")


def contestants(workload: Workload) -> dict[str, Callable[[], Any]]:
    timestamps, grid = workload.timestamps, workload.grid
    runners: dict[str, Callable[[], Any]] = {
        "sum": timestamps.sum,
        "max": timestamps.max,
        "ours": lambda: detect_gaps(timestamps, grid),
    }
    if len(timestamps) >= SPLIT_FROM // 4:
        parts = np.array_split(timestamps, os.cpu_count() or 1)
        runners["sums"] = lambda: list(READERS.map(np.sum, parts))
        runners["threads"] = lambda: detect_gaps(timestamps, grid, threads=0)
    if workload.name in TRUSTED:
        runners["trusted"] = lambda: detect_gaps(timestamps, grid, trusted=True)
    for name, peer in peers_for(workload).items():
        runners[name] = lambda peer=peer: peer(timestamps, grid)  # type: ignore[misc]
    return runners


def check(workload: Workload, runners: dict[str, Callable[[], Any]]) -> int:
    """Compare all answers; return the number of gaps."""
    gaps = runners["ours"]()
    for name, run in runners.items():
        if name in ("sum", "max", "sums", "ours"):
            continue
        answer = run()
        starts, counts = (answer.starts, answer.counts) if name in OURS else answer
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


def measure_cold(run: Callable[[], Any], rounds: int) -> float:
    """Return the median time in seconds of a call that finds nothing in the caches."""
    times = []
    for number in range(rounds):
        FLUSHED[:] = number
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def row(workload: Workload, points: int, rounds: int) -> dict[str, Any]:
    runners = contestants(workload)
    found = check(workload, runners)
    repeat = max(1, 200_000 // points)
    medians = measure({name: run for name, run in runners.items() if name not in ENGINES}, rounds, repeat)
    engines = {name: runners[name] for name in ENGINES if name in runners}
    medians |= measure(engines, min(rounds, ENGINE_ROUNDS), repeat=1)
    limit = min(medians.pop("sum"), medians.pop("max"))
    ours, trusted = medians.pop("ours"), medians.pop("trusted", None)
    threads, sums = medians.pop("threads", None), medians.pop("sums", None)
    cold = measure_cold(runners["trusted"], rounds) if trusted and points >= COLD_FROM else None
    best = min(medians, key=lambda name: medians[name])
    return {
        "workload": workload.name,
        "points": points,
        "gaps": found,
        "limit_s": limit,
        "ours_s": ours,
        "threads_s": threads,
        "threads_limit_s": sums,
        "trusted_s": trusted,
        "cold_s": cold,
        "peers_s": medians,
        "best_peer": best,
    }


HEADER = (
    "workload       points       gaps  limit ms   ours ms ours/lim  peer/ours best peer        diff/ours"
    "  threads ms  thr/lim  trusted us    cold us cold/lim"
)


def show(result: dict[str, Any]) -> str:
    limit, ours, best = result["limit_s"], result["ours_s"], result["peers_s"][result["best_peer"]]
    line = (
        f"{result['workload']:9} {result['points']:>11,} {result['gaps']:>10,} {limit * 1e3:>9.3f} "
        f"{ours * 1e3:>9.4g} {ours / limit:>8.2f} {best / ours:>10.2f} {result['best_peer']:17}"
    )
    diff = result["peers_s"].get("numpy_diff")
    line += f"{diff / ours:>9.2f}" if diff else " " * 9
    if threads := result["threads_s"]:
        line += f" {threads * 1e3:>11.4g} {threads / result['threads_limit_s']:>8.2f}"
    else:
        line += " " * 21
    if result["trusted_s"]:
        line += f" {result['trusted_s'] * 1e6:>11.1f}"
    if result["cold_s"]:
        line += f" {result['cold_s'] * 1e6:>10.1f} {result['cold_s'] / limit:>8.2%}"
    return line.rstrip()


def boundary_row(name: str, rounds: int) -> dict[str, Any]:
    """Measure one way in or out; see gap_boundary."""
    items, times = (SET_POINTS, 1) if name == "set_of_present" else (BOUNDARY_ITEMS, rounds)
    return {"row": name, "items": items, "medians_s": measure(BOUNDARY[name](items), times, repeat=1)}


def show_boundary(result: dict[str, Any]) -> str:
    medians = dict(result["medians_s"])
    ours = medians.pop("ours")
    others = ", ".join(f"{name} {taken * 1e3:.4g} ms ({taken / ours:.2f}x)" for name, taken in medians.items())
    each = ours / result["items"] * 1e9
    return f"{result['row']:16} {result['items']:>11,}  ours {ours * 1e3:.4g} ms, {each:.2f} ns each; {others}"


def processor() -> str:
    """Name the processor, as the system does."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, str]:
    """Name what was measured on, and with."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {}
    for name in PEERS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **versions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=float, nargs="*", default=[1e4, 1e6, 1e7], help="grid points (1e8 takes 8 GB)")
    parser.add_argument("--workloads", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-boundary", action="store_true", help="leave out what is below the table")
    parser.add_argument("--record", action="store_true", help="write benches/detect_gaps.json, and print its picture")
    options = parser.parse_args()
    if _native.DEBUG_BUILD or IMPLEMENTATION != "native":
        raise SystemExit("this is a debug build, or not the native one: its times mean nothing")
    results, where = [], machine()
    if options.points:
        print(HEADER)
    for points in map(int, options.points):
        for name in options.workloads:
            results.append(row(MAKERS[name](points), points, options.rounds))
            print(show(results[-1]), flush=True)
            gc.collect()
    boundary = [] if options.no_boundary else [boundary_row(name, options.rounds) for name in BOUNDARY]
    print(*map(show_boundary, boundary), sep="\n")
    if options.record:
        recorded = {"machine": where, "results": results, "boundary": boundary}
        RECORD.write_text(json.dumps(recorded, indent=1) + "\n")
        print(f"\nThe README's picture:\n{chart(recorded)}")


if __name__ == "__main__":
    main()
