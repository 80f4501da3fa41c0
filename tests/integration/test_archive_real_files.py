"""The real candle files, read whole: the table of their README comes out again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler_engine.archive.candle_file import read_candle_file
from reconciler_engine.archive.naming import parse_file_name


def series_table(folder: Path) -> dict[str, list[str]]:
    """Cells of the README's first table by file name."""
    text = (folder.parent / "README.md").read_text()
    section = text[text.index("## Series") : text.index("### Gap lengths")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()]
    return {row[0]: row for row in rows if len(row) == 10 and row[0][0].isupper()}


def to_instant(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.slow
def test_table_of_the_readme_is_reproduced(market_data: Path) -> None:
    table = series_table(market_data)
    assert len(table) == 16
    for name, cells in table.items():
        path = market_data / f"{name}.csv.gz"
        step = parse_file_name(path).timeframe.step_ms
        file = read_candle_file(path, series=parse_file_name(path), on_grid=True)
        jumps = [
            ((right - left) // step - 1, left + step)
            for left, right in zip(file.starts, file.starts[1:], strict=False)
            if right - left > step
        ]
        longest = max(jumps, key=lambda jump: jump[0], default=(0, 0))
        first, last, rows, missing, gaps = cells[1], cells[2], cells[3], cells[4], cells[6]
        assert (file.starts[0], file.starts[-1]) == (to_instant(first), to_instant(last)), name
        assert f"{file.rows:,}" == rows, name
        assert f"{sum(count for count, _ in jumps):,}" == missing, name
        assert f"{len(jumps):,}" == gaps, name
        assert str(file.duplicates) == cells[8], name
        assert str(sum(candle.volume == 0 for candle in file.candles())) == cells[9], name
        if jumps:
            count, start = cells[7].split(", ")
            assert longest == (int(count), to_instant(start)), name


@pytest.mark.parametrize(
    "name", ["coverage_BTC-USD_1m_per4h_20160101-20180309", "observed_BTC-USD_1h_20231231-20240430"]
)
def test_other_files_of_the_folder_are_no_series(market_data: Path, name: str) -> None:
    path = market_data / f"{name}.csv.gz"
    assert path.is_file()
    with pytest.raises(ValueError, match="not a product id"):
        parse_file_name(path)
