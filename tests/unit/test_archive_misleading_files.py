"""Files that look like candle files and mislead: another unit, another timeframe, another form."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler_engine.archive.candle_file import read_candle_file
from reconciler_engine.archive.hints import Hints
from reconciler_engine.archive.time_unit import TimeUnit
from reconciler_engine.errors import CandleFileError
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe

HEADER = "start_ms,open,high,low,close,volume\n"
T0 = 1_767_225_600_000  # 2026-01-01T00:00Z
UNITS = {unit: unit.per_second for unit in TimeUnit}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "BTC-USD_1m.csv"


def write(path: Path, starts, *, pack=bytes) -> Path:
    text = HEADER + "".join(f"{start},1,2,0.5,1.5,3\n" for start in starts)
    path.write_bytes(pack(text.encode()))
    return path


def counted(unit: TimeUnit, timeframe: Timeframe, bars) -> list[int]:
    """The open times of these bars from `T0` on, in a unit."""
    return [(T0 + bar * timeframe.step_ms) * unit.per_second // 1_000 for bar in bars]


def read(path: Path, timeframe: Timeframe, unit: TimeUnit | None = None, **settings):
    return read_candle_file(path, series=Series("BTC-USD", timeframe), hints=Hints(unit=unit), **settings)


def refused(path: Path, timeframe: Timeframe, **settings) -> str:
    with pytest.raises(CandleFileError) as caught:
        read(path, timeframe, **settings)
    assert caught.value.told.startswith(f"{path}: ")
    return caught.value.told.removeprefix(f"{path}: ")


@pytest.mark.parametrize("timeframe", Timeframe)
@pytest.mark.parametrize("written", TimeUnit)
@pytest.mark.parametrize("bars", [[0], [0, 1], [0, 1, 2, 5, 6, 30, 31]], ids=["one", "two", "holes"])
def test_a_unit_is_read_by_its_option_and_refused_with_it_otherwise(path, timeframe, written, bars):
    write(path, counted(written, timeframe, bars))
    for unit in TimeUnit:
        if unit is written:
            file = read(path, timeframe, unit, on_grid=True)
            assert list(file.starts) == counted(TimeUnit.MILLISECONDS, timeframe, bars)
        else:
            assert refused(path, timeframe, unit=unit) == (
                f"its open times look like {written.name.lower()}, not {unit.name.lower()}; "
                f"allowed: --time-unit {written.value} of gaps and load"
            )


@pytest.mark.parametrize("unit", [TimeUnit.MICROSECONDS, TimeUnit.NANOSECONDS])
def test_an_instant_between_two_milliseconds_is_a_bad_row(path, unit):
    first, second = counted(unit, Timeframe.M1, [0, 1])
    fault = f"line 3: start_ms '{second + 1}' is not a whole number of {unit.name.lower()} since 1970"
    with pytest.raises(CandleFileError, match=fault):
        read(write(path, [first, second + 1, second]), Timeframe.M1, unit)


@pytest.mark.parametrize("written", Timeframe)
@pytest.mark.parametrize("named", Timeframe)
def test_a_file_of_another_timeframe_is_refused_with_the_one_it_looks_like(path, written, named):
    write(path, counted(TimeUnit.MILLISECONDS, written, [*range(30), 40, 41]))
    if written is named:
        assert read(path, named, on_grid=True).rows == 32
        return
    said = refused(path, named, on_grid=True)
    assert f"its usual step is {written}" in said
    assert "name the timeframe it has" in said


def test_a_file_whose_bars_open_beside_the_grid_is_refused_in_a_line(path):
    half_past = [T0 + 1_800_000 + hour * 3_600_000 for hour in range(24)]
    said = refused(write(path, half_past), Timeframe.H1, on_grid=True)
    assert said == "24 of 24 bars do not open on the grid of 1h"


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_file_of_hours_with_more_holes_than_bars_is_none_of_minutes(path, share):
    draw = random.Random(share)
    hours = [hour for hour in range(1_000) if draw.random() < share]
    odd = T0 + 1
    said = refused(write(path, [*counted(TimeUnit.MILLISECONDS, Timeframe.H1, hours), odd]), Timeframe.M1)
    assert said.startswith("its usual step is 1h, not 1m: ")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_thin_market_is_no_other_timeframe(path, share):
    draw = random.Random(share)
    minutes = [minute for minute in range(20_000) if draw.random() < share]
    write(path, counted(TimeUnit.MILLISECONDS, Timeframe.M1, minutes))
    assert read(path, Timeframe.M1, on_grid=True).rows == len(minutes)


def test_a_few_odd_rows_are_told_by_themselves(path):
    minutes = counted(TimeUnit.MILLISECONDS, Timeframe.M1, range(10))
    write(path, [*minutes, minutes[0] + 1])
    assert read(path, Timeframe.M1).rows == 11
    assert refused(path, Timeframe.M1, on_grid=True).startswith("line 12: start_ms ")


def zipped(content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.csv", content)
    return held.getvalue()


@pytest.mark.parametrize(
    ("pack", "kind"),
    [
        (zipped, "a zip archive"),
        (bz2.compress, "bzip2-compressed"),
        (lzma.compress, "xz-compressed"),
        (lambda _: b"\x28\xb5\x2f\xfd\x24\x00", "zstd-compressed"),
        (lambda _: b"PAR1\x15\x04", "a Parquet file"),
        (lambda content: content.decode().encode("utf-16"), "UTF-16 text"),
        (lambda content: content.decode().encode("utf-16-le"), "UTF-16 text"),
        (lambda content: content.decode().encode("utf-16-be"), "UTF-16 text"),
        (lambda _: b'[{"start": 1}]', "JSON"),
        (lambda _: b"<!DOCTYPE html>", "a web page"),
        (lambda content: gzip.compress(zipped(content)), "a zip archive"),
    ],
    ids=["zip", "bzip2", "xz", "zstd", "parquet", "utf-16", "utf-16-le", "utf-16-be", "json", "html", "gzipped zip"],
)
def test_a_file_of_another_form_is_named_with_a_way_out(path, pack, kind):
    said = refused(write(path, [T0], pack=pack), Timeframe.M1)
    assert said.startswith(f"is {kind}")
    assert "; allowed: CSV, plain or gzipped (" in said
    assert len(said.splitlines()) == 1


def test_a_file_without_a_header_is_told_apart(path):
    path.write_text("1767225600000,1,1,1,1,1\n")
    assert "; the file has no header: put 'start_ms," in refused(path, Timeframe.M1)


def test_a_thousand_bad_lines_are_one_kind_and_a_count(path):
    good = "".join(f"{start},1,1,1,1,1\n" for start in counted(TimeUnit.MILLISECONDS, Timeframe.M1, range(3)))
    path.write_text(HEADER + good + "x,1,1,1,1,1\n" * 1_500 + "0,5,4,3,3,1\n" + f"{T0},2,2,2,2,2\n" * 4)
    told = refused(path, Timeframe.M1).splitlines()
    assert [line.removeprefix(f"{path}: ").partition(":")[0] for line in told] == [
        "line 5", "line 6", "line 7", "and 1,497 more like line 7, 1,500 in all", "line 1505",
        "line 1506", "line 1507", "line 1508", "and 1 more like line 1508, 4 in all",
    ]  # fmt: skip


@pytest.mark.parametrize("row", [b"\n", b"60000,1,1,1,1,1\n", b"x\n"], ids=["blank", "same", "bad"])
@pytest.mark.parametrize("good", [0, 20_000], ids=["from the start", "later"])
def test_a_file_that_unpacks_a_thousandfold_is_refused_early(path, row, good):
    rows = HEADER + "".join(
        f"{start},1,1,1,1,1\n" for start in counted(TimeUnit.MILLISECONDS, Timeframe.M1, range(good))
    )
    path.write_bytes(gzip.compress(rows.encode() + row * (16_000_000 // len(row))))
    told = refused(path, Timeframe.M1).splitlines()
    assert len(told) <= 5
    assert "unpacks to more than 200 times its size, as no candles do" in told[-1] or "so many bad rows" in told[-1]
    assert int(told[-1].partition("after line ")[2].partition(":")[0]) < good + 700_000


def test_an_ordinary_file_is_read_however_much_gzip_takes_at_once(path, monkeypatch):
    # As since Python 3.12.
    monkeypatch.setattr(gzip, "io", SimpleNamespace(**{**vars(io), "DEFAULT_BUFFER_SIZE": 128 * 1024}))
    starts = counted(TimeUnit.MILLISECONDS, Timeframe.M1, range(60_000))
    file = write(path, starts, pack=gzip.compress)
    assert len(read_candle_file(file, series=Series("BTC-USD", Timeframe.M1)).starts) == len(starts)
