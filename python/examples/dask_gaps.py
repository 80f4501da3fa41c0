"""Finds the gaps of one series in many Parquet files with a Dask cluster: python dask_gaps.py STEP_MS FILE...

Each task summarises a file in a worker process; then tasks join eight summaries at a time until one is left. To use an
existing cluster instead of a local one, pass its address to `Client`.
"""

import sys
from collections.abc import Sequence

import pyarrow.parquet as pq
from dask.distributed import Client, LocalCluster

from reconciler_engine import GapSummary


def summarise(path: str, step: int) -> GapSummary:
    """Summarise the column `time` (int64, ms UTC) of a file, one batch at a time."""
    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(columns=["time"])
        return GapSummary.join([GapSummary.empty(step), *(GapSummary.of(batch["time"], step) for batch in batches)])


def main(step: int, paths: Sequence[str], processes: int = 2) -> GapSummary:
    """Return the summary of all files."""
    local = LocalCluster(n_workers=processes, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    with local as cluster, Client(cluster) as client:
        parts = client.map(summarise, paths, step=step)
        while len(parts) > 1:
            parts = [client.submit(GapSummary.join, parts[first : first + 8]) for first in range(0, len(parts), 8)]
        whole: GapSummary = parts[0].result()
    return whole


if __name__ == "__main__":
    found = main(int(sys.argv[1]), sys.argv[2:])
    print(f"{found.count} rows, {found.missing} missing in {len(found.gaps)} gaps, longest {found.longest}")
