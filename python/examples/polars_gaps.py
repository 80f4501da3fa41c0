"""Finds the gaps of every series in many Parquet files with Polars: python polars_gaps.py STEP_MS FILE...

A group-by summarises each symbol of a file as one row; then the rows of each symbol are joined. Only one file at a time
is in memory; its rows may be in any order.
"""

import sys
from collections.abc import Sequence
from functools import partial

import polars as pl

from reconciler_engine import GapSummary


def summarise(group: pl.DataFrame, step: int) -> pl.DataFrame:
    """Summarise the column `time` (int64, ms UTC) of one symbol's rows as one row."""
    return pl.DataFrame(GapSummary.of(group["time"], step)).with_columns(symbol=pl.lit(group["symbol"][0]))


def main(step: int, paths: Sequence[str]) -> dict[str, GapSummary]:
    """Return the summary of each symbol over all files."""
    frames = (pl.read_parquet(path, columns=["symbol", "time"], glob=False) for path in paths)
    rows = pl.concat([frame.group_by("symbol").map_groups(partial(summarise, step=step)) for frame in frames])
    return {symbol: GapSummary.join(GapSummary.from_arrow(parts)) for (symbol,), parts in rows.group_by("symbol")}


if __name__ == "__main__":
    for name, found in sorted(main(int(sys.argv[1]), sys.argv[2:]).items()):
        print(f"{name}: {found.count} rows, {found.missing} missing in {len(found.gaps)} gaps")
