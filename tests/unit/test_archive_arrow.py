"""Times in Parquet and Arrow files: of every type people use, and no other column is touched."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from reconciler_engine.archive.arrow_file import is_arrow, read_times
from reconciler_engine.archive.hints import parse_hints
from reconciler_engine.archive.naming import Naming
from reconciler_engine.errors import CandleFileError

T0 = 1_767_225_600_000  # 2026-01-01T00:00Z
DAY = 86_400_000
TIMES = [T0 + day * DAY for day in (0, 1, 4)]
UNITS = {"s": 1_000, "ms": 1, "us": 0.001, "ns": 0.000001}


def write_parquet(table, path):
    pq.write_table(table, path, row_group_size=2)


def write_arrow(table, path):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def write_stream(table, path):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


FORMS = {
    "parquet": write_parquet,
    "arrow": write_arrow,
    "stream": write_stream,
    "feather": lambda table, path: feather.write_feather(table, path, compression="zstd"),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "BTC-USD_1d.parquet"


def read(path, **said):
    """The times of each series in a file, and how it says that it is read."""
    flags = ("symbol", "timeframe", "columns", "time_unit", "time_zone")
    hints = parse_hints(**{flag: said.get(flag) for flag in flags})
    assert is_arrow(path)
    found: dict[str, list[int]] = {}
    told: set[str] = set()
    taken: list[int] = []
    for series, instants, read_as, _ in read_times(path, Naming.of(path, hints), hints, taken.append):
        assert instants.type == pa.int64()
        found.setdefault(str(series), []).extend(instants.to_pylist())
        told.add(read_as)
    assert taken == sorted(taken)
    assert not found or 0.9 * path.stat().st_size < taken[-1] <= path.stat().st_size
    return found, told.pop() if told else ""


def refused(path, **said):
    with pytest.raises(CandleFileError) as caught:
        read(path, **said)
    return caught.value.told.removeprefix(f"{path}: ")


def dates(form="%Y-%m-%d %H:%M:%S"):
    return [datetime.fromtimestamp(time / 1_000, UTC).strftime(form) for time in TIMES]


TYPES = {
    **{f"timestamp of {unit}": (pa.array(TIMES, pa.timestamp("ms")).cast(pa.timestamp(unit, "UTC")), {},
       f"timestamp[{unit}, tz=UTC]") for unit in UNITS},
    **{f"numbers of {unit}": (pa.array([round(time / size) for time in TIMES], pa.int64()), {}, name)
       for (unit, size), name in zip(UNITS.items(), ("seconds", "milliseconds", "microseconds", "nanoseconds"),
                                     strict=True)},
    "timestamp of Berlin": (pa.array(TIMES, pa.timestamp("ms")).cast(pa.timestamp("us", "Europe/Berlin")), {},
                            "timestamp[us, tz=Europe/Berlin]"),
    "timestamp without a zone": (
        pa.array(TIMES, pa.timestamp("ms")).cast(pa.timestamp("ns")), {"time_zone": "UTC"}, "timestamp[ns] in UTC"),
    "timestamp of the clock of Berlin": (pa.array([time + DAY // 24 for time in TIMES], pa.timestamp("ms")),
                                         {"time_zone": "Europe/Berlin"}, "timestamp[ms] in Europe/Berlin"),
    "days": (pa.array(TIMES, pa.timestamp("ms")).cast(pa.date32()), {"time_zone": "UTC"}, "date32[day] in UTC"),
    "whole floats": (pa.array([time / 1_000 for time in TIMES]), {}, "seconds"),
    "unsigned": (pa.array([time // 1_000 for time in TIMES], pa.uint32()), {}, "seconds"),
    "text": (pa.array(dates("%Y-%m-%dT%H:%M:%SZ")), {}, "dates with their zone"),
    "large text": (pa.array(dates(), pa.large_string()), {"time_zone": "UTC"}, "dates in UTC"),
    "text of numbers": (pa.array([str(time) for time in TIMES]), {}, "milliseconds"),
}  # fmt: skip


@pytest.mark.parametrize(("column", "said", "told"), TYPES.values(), ids=TYPES)
def test_times_of_each_type_are_the_same_instants(path, column, said, told):
    # Parquet has no seconds, and would change the type.
    write_arrow(pa.table({"close": [1.0, 2.0, 3.0], "time": column}), path)
    assert read(path, **said) == ({"BTC-USD:1d": TIMES}, f"time 'time' ({told})")


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
def test_each_form_is_read_a_batch_at_a_time(path, write):
    table = pa.table({"open": [1.0, 2.0, 3.0], "symbol": ["BTC/USD", "ETHUSD", "BTC-USD"], "time": TIMES})
    path = path.with_name("dump_1d.arrow")
    write(table, path)
    found, told = read(path, timeframe="1d")
    assert found == {"BTC-USD:1d": [TIMES[0], TIMES[2]], "ETH-USD:1d": [TIMES[1]]}
    assert told == "time 'time' (milliseconds), symbol 'symbol'"


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
def test_a_file_without_rows_holds_no_times(path, write):
    write(pa.table({"time": pa.array([], pa.timestamp("ms"))}), path)
    assert read(path) == ({}, "")


def test_series_are_told_apart_by_columns_of_dictionaries(path):
    table = pa.table(
        {
            "product_id": pa.array(["BTC-USD", "ETH-USD", "BTC-USD"]).dictionary_encode(),
            "granularity": ["ONE_DAY", "ONE_DAY", "1h"],
            "start": pa.array(TIMES, pa.timestamp("ms", "UTC")),
        }
    )
    path = path.with_name("dump.parquet")
    write_parquet(table, path)
    found, _ = read(path)
    assert found == {"BTC-USD:1d": [TIMES[0]], "ETH-USD:1d": [TIMES[1]], "BTC-USD:1h": [TIMES[2]]}


def test_no_other_column_is_read(path):
    write_parquet(pa.table({"open": [1.0, 2.0, 3.0], "time": TIMES, "close": [1.0, 2.0, 3.0]}), path)
    content = bytearray(path.read_bytes())
    groups = pq.read_metadata(path)
    for group in range(groups.num_row_groups):
        for index in (0, 2):
            column = groups.row_group(group).column(index)
            start = column.dictionary_page_offset or column.data_page_offset
            content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"."):
        pq.read_table(path)
    assert read(path)[0] == {"BTC-USD:1d": TIMES}


@pytest.mark.parametrize(
    ("columns", "said", "fault"),
    [
        ({"time": pa.array(TIMES, pa.timestamp("ms"))}, {},
         "column 'time': times such as '2026-01-01 00:00:00' name no zone; allowed: --time-zone UTC, or another zone"),
        ({"time": [1, 2, 3]}, {}, "column 'time': 1 is in no unit an instant between 2009 and 2099; allowed: --time-u"),
        ({"time": [*TIMES[:2], None]}, {}, "column 'time' is null in 1 of 3 rows"),
        ({"time": [time / 1_000 + 0.5 for time in TIMES]}, {}, "column 'time': Float value 1767225600.5"),
        ({"time": pa.array([TIMES[0] * 1_000 + 1], pa.timestamp("us", "UTC"))}, {}, "column 'time': Casting from time"),
        ({"time": [-DAY]}, {"time_unit": "ms"}, "column 'time' holds -86400000 ms, which is not an instant since 1970"),
        ({"time": [10**15]}, {"time_unit": "ms"}, "column 'time' holds 1000000000000000 ms, which is not an instant"),
        ({"time": [True]}, {}, "column 'time' has type bool; allowed: timestamps, dates, whole numbers, text"),
        ({"time": ["2026-01-01T00:00Z", "soon"]}, {}, "column 'time': 'soon' is not a time; allowed: whole num"),
        ({"start_ms": [time // 1_000 for time in TIMES]}, {}, "its open times look like seconds, not milliseconds"),
        ({"time": [T0 + hour * 3_600_000 for hour in range(30)]}, {}, "30 of 30 bars do not open on the grid of 1d"),
        ({"ts": TIMES, "epoch": TIMES}, {}, "column 'ts' or 'epoch' may hold the time; allowed: --columns time=NAME"),
        ({"when": TIMES}, {}, "no column holds the time; allowed: --columns time=NAME, of the names when"),
        ({"time": TIMES}, {"columns": "time=unix"}, "--columns time=unix: the file has no such column; allowed: time"),
        ({"time": TIMES, "symbol": ["BTC-USD", "ETH-USD", "BTC-USD"]}, {}, "is ETH-USD:1d, but the file's name, a fo"),
        ({"time": TIMES, "symbol": ["BTC-USD", None, "BTC-USD"]}, {}, "symbol 'None' is not a product id"),
    ],
)  # fmt: skip
def test_what_is_open_or_wrong_is_refused_with_the_column(path, columns, said, fault):
    if fault.startswith("30 of 30"):
        columns = {"time": [time + 60_000 for time in columns["time"]]}
    write_parquet(pa.table(columns), path)
    assert refused(path, **said).startswith(fault)


@pytest.mark.parametrize("size", [4, 20, 100, -1])
@pytest.mark.parametrize("write", [write_parquet, write_arrow], ids=["parquet", "arrow"])
def test_a_file_that_is_cut_short_is_refused(path, write, size):
    write(pa.table({"time": TIMES}), path)
    path.write_bytes(path.read_bytes()[:size])
    if is_arrow(path):
        assert refused(path).startswith("cannot be read: ")


@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.soak)], ids=["bounded", "whole"])
def test_a_damaged_file_is_answered_or_refused(path, count):
    """Some of these ended the process before batches of Arrow were checked."""
    contents = []
    for write in FORMS.values():
        write(pa.table({"symbol": ["BTC-USD", "ETH-USD", "BTC-USD"] * 100, "time": TIMES * 100}), path)
        contents.append(path.read_bytes())
    ended: Counter[str] = Counter()
    path = path.with_name("dump_1d.parquet")
    for number in range(count):
        draw = Random(number)
        content = bytearray(draw.choice(contents))
        for _ in range(draw.randrange(1, 12)):
            content[draw.randrange(8, len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.randrange(8, len(content)) if draw.random() < 0.2 else len(content)])
        try:
            read(path, timeframe="1d")
            ended["answered"] += 1
        except CandleFileError:
            ended["refused"] += 1
    assert ended.keys() == {"answered", "refused"}


def test_without_pyarrow_it_is_said_what_to_install(path, monkeypatch):
    write_parquet(pa.table({"time": TIMES}), path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refused(path) == (
        "is a Parquet or Arrow file, which pyarrow reads: install reconciler-engine[archive], "
        "or write its columns as CSV"
    )
