"""Finds the gaps of one series in many Parquet files with Ray: python ray_gaps.py STEP_MS FILE...

Each task summarises a file; the summaries are small, so this process joins them. To use an existing cluster instead of
a local one, pass its address to `ray.init`.
"""

import sys
from collections.abc import Sequence

import pyarrow.parquet as pq
import ray

from reconciler_engine import GapSummary


def summarise(path: str, step: int) -> GapSummary:
    """Summarise the column `time` (int64, ms UTC) of a file, one batch at a time."""
    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(columns=["time"])
        return GapSummary.join([GapSummary.empty(step), *(GapSummary.of(batch["time"], step) for batch in batches)])


def main(step: int, paths: Sequence[str], processes: int = 2) -> GapSummary:
    """Return the summary of all files."""
    with ray.init(num_cpus=processes, include_dashboard=False, _node_ip_address="127.0.0.1"):
        parts = ray.get([ray.remote(summarise).remote(path, step) for path in paths])
    return GapSummary.join(parts)


if __name__ == "__main__":
    found = main(int(sys.argv[1]), sys.argv[2:])
    print(f"{found.count} rows, {found.missing} missing in {len(found.gaps)} gaps, longest {found.longest}")
