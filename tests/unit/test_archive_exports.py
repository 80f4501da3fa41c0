"""Exports of other programs: the same candles come out of each, and how it was read is told."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import pytest

from reconciler_engine.archive.candle_file import read_candle_file, read_parts
from reconciler_engine.archive.hints import Hints, parse_hints
from reconciler_engine.archive.naming import Naming
from reconciler_engine.errors import CandleFileError, ConfigError
from reconciler_engine.market.series import Series

SERIES = Series.parse("BTC-USD:1h")
T0 = 1_767_225_600  # 2026-01-01T00:00Z
HOUR = 3_600
CANDLES = [(T0 + hour * HOUR, f"{10 + hour}.5,{12 + hour},9,{11 + hour},0.25") for hour in (0, 1, 3)]
HEADER = "start_ms,open,high,low,close,volume"


def hints(**said) -> Hints:
    flags = ("symbol", "timeframe", "columns", "time_unit", "time_zone")
    return parse_hints(**{flag: said.get(flag) for flag in flags})


def rows(write, *, sep=",", newest_first=False) -> str:
    """The three candles, each as `write` makes cells of its second and its five values."""
    lines = [sep.join(write(second, *text.split(","))) for second, text in CANDLES]
    return "".join(f"{line}\n" for line in (lines[::-1] if newest_first else lines))


def date(second, form="%Y-%m-%d %H:%M:%S") -> str:
    return datetime.fromtimestamp(second, UTC).strftime(form)


EXPORTS = {
    "cryptodatadownload": (
        "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n"
        + rows(lambda s, *v: (str(s), date(s), "BTC/USD", *v, "9.9"), newest_first=True),
        {},
        (
            "time 'unix' (seconds), open 'open', high 'high', low 'low', close 'close', volume 'Volume BTC', "
            "symbol 'symbol', 1 note line, newest first, not read: 'date', 'Volume USD'"
        ),
    ),
    "gemini": (
        "Unix Timestamp,Date,Symbol,Open,High,Low,Close,Volume\n"
        + rows(lambda s, *v: (f"{s}000", date(s), "BTCUSD", *v)),
        {},
        (
            "time 'Unix Timestamp' (milliseconds), open 'Open', high 'High', low 'Low', close 'Close', "
            "volume 'Volume', symbol 'Symbol', not read: 'Date'"
        ),
    ),
    "bitstamp of kaggle": (
        "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price\n"
        + rows(lambda s, *v: (f"{s}.0", *v, "1", "2")),
        {},
        (
            "time 'Timestamp' (seconds), open 'Open', high 'High', low 'Low', close 'Close', volume 'Volume_(BTC)', "
            "not read: 'Volume_(Currency)', 'Weighted_Price'"
        ),
    ),
    "rest answers": (
        "time,low,high,open,close,volume\n" + rows(lambda s, o, h, low, c, v: (str(s), low, h, o, c, v)),
        {},
        "time 'time' (seconds), open 'open', high 'high', low 'low', close 'close', volume 'volume'",
    ),
    "klines": (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count\n"
        + rows(lambda s, *v: (f"{s}000000", *v, f"{s + HOUR - 1}999999", "1", "2")),
        {},
        (
            "time 'open_time' (microseconds), open 'open', high 'high', low 'low', close 'close', volume 'volume', "
            "not read: 'close_time', 'quote_volume', 'count'"
        ),
    ),
    "without a header": (
        rows(lambda s, *v: (str(s), *v, "17")),
        {"columns": "time=1,open=2,high=3,low=4,close=5,volume=6"},
        "time '1' (seconds), open '2', high '3', low '4', close '5', volume '6', no header, not read: '7'",
    ),
    "dates": (
        "Date,Open,High,Low,Close,Adj Close,Volume\n"
        + rows(lambda s, o, h, low, c, v: (date(s), o, h, low, c, "1", v)),
        {"time_zone": "UTC"},
        (
            "time 'Date' (dates in UTC), open 'Open', high 'High', low 'Low', close 'Close', volume 'Volume', "
            "not read: 'Adj Close'"
        ),
    ),
    "dates of Berlin": (
        "datetime;o;h;l;c;v\n" + rows(lambda s, *v: (date(s + HOUR, "%Y/%m/%d %H:%M"), *v), sep=";"),
        {"time_zone": "Europe/Berlin"},
        (
            "time 'datetime' (dates in Europe/Berlin), open 'o', high 'h', low 'l', close 'c', volume 'v', "
            "separated by semicolons"
        ),
    ),
    "dates with a zone": (
        "# by our exporter\n\ntime\topen\thigh\tlow\tclose\tvolume\n"
        + rows(lambda s, *v: (date(s + 2 * HOUR, "%Y-%m-%dT%H:%M:%S.000+02:00"), *v), sep="\t"),
        {},
        (
            "time 'time' (dates with their zone), open 'open', high 'high', low 'low', close 'close', volume 'volume', "
            "separated by tabs, 2 note lines"
        ),
    ),
    "dates that say UTC": (
        '"candle_time_utc"|"open_price"|"high_price"|"low_price"|"close_price"|"base_volume"\n'
        + rows(lambda s, *v: (f'"{date(s)} UTC"', *(f' "{one}" ' for one in v)), sep="|"),
        {},
        (
            "time 'candle_time_utc' (dates with their zone), open 'open_price', high 'high_price', low 'low_price', "
            "close 'close_price', volume 'base_volume', separated by bars"
        ),
    ),
    "names of their own": (
        "wann,auf,hoch,tief,zu,menge\n" + rows(lambda s, *v: (f"{s}000000000", *v)),
        {"columns": "time=wann,open=auf,high=hoch,low=tief,close=zu,volume=menge"},
        "time 'wann' (nanoseconds), open 'auf', high 'hoch', low 'tief', close 'zu', volume 'menge'",
    ),
    "a timeframe": (
        "product_id,granularity,start,open,high,low,close,volume\n"
        + rows(lambda s, *v: ("BTC-USD", "ONE_HOUR", str(s), *v)),
        {},
        (
            "time 'start' (seconds), open 'open', high 'high', low 'low', close 'close', volume 'volume', "
            "symbol 'product_id', timeframe 'granularity'"
        ),
    ),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "export.csv"


def read(path, text, *, series=SERIES, **said):
    path.write_text(text)
    return read_candle_file(path, series=series, hints=hints(**said), on_grid=True)


def refused(path, text, **said) -> str:
    with pytest.raises(CandleFileError) as caught:
        read(path, text, **said)
    return caught.value.told.removeprefix(f"{path}: ")


@pytest.mark.parametrize(("text", "said", "read_as"), EXPORTS.values(), ids=EXPORTS)
def test_an_export_is_read_and_what_was_recognised_is_told(path, text, said, read_as):
    file = read(path, text, **said)
    assert list(zip(file.starts, file.texts, strict=True)) == [(second * 1_000, text) for second, text in CANDLES]
    assert file.read_as == read_as


@pytest.mark.parametrize("name", ["cryptodatadownload", "dates of Berlin", "dates that say UTC"])
def test_an_export_may_be_gzipped_and_of_windows(path, name):
    text, said, read_as = EXPORTS[name]
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()))
    file = read_candle_file(path, series=SERIES, hints=hints(**said))
    assert (len(file.starts), file.read_as) == (3, read_as)


def test_nothing_is_told_of_a_file_of_our_own(path):
    text = f"{HEADER}\n" + rows(lambda s, *v: (f"{s}000", *v))
    assert read(path, text).read_as == ""


NUMBERED = "--columns time=1,open=2,high=3,low=4,close=5,volume=6"
HOURS = "2026-01-31T13:00Z"


@pytest.mark.parametrize(
    ("text", "said", "fault"),
    [
        ("time,open,high,low,close,volume\n60000,1,1,1,1,1\n", {},
         "column 'time': 60000 is in no unit an instant between 2009 and 2099; allowed: --time-unit s, ms, us or ns"),
        ("time,open,high,low,close,volume\n31.12.2025 13:00,1,1,1,1,1\n", {},
         f"column 'time': '31.12.2025 13:00' is not a time; allowed: whole numbers, or ISO 8601 such as {HOURS}"),
        ("date,open,high,low,close,volume\n2026-01-01 13:00,1,1,1,1,1\n", {},
         "column 'date': times such as '2026-01-01 13:00' name no zone; allowed: --time-zone UTC, or another zone"),
        ("ts,epoch,open,high,low,close,volume\n1,1,1,1,1,1,1\n", {},
         "column 'ts' or 'epoch' may hold the time; allowed: --columns time=NAME, of the names ts, epoch, open, "),
        ("time,open,high,low,close,volume_eur,volume_usd\n1,1,1,1,1,1,1\n", {},
         "column 'volume_eur' or 'volume_usd' may hold the volume; allowed: --columns volume=NAME"),
        ("time,open,high,low,close\n1,1,1,1,1\n", {}, "no column holds the volume; allowed: --columns volume=NAME"),
        ("time,open,high,low,close,volume\n1,1,1,1,1,1\n", {"columns": "time=unix"},
         "line 1: header 'time,open,high,low,close,volume' is not"),
        (f"{T0},1,1,1,1,1\n", {}, (f"line 1: header '{T0},1,1,1,1,1' is not '{HEADER}', and names no column of times; "
         f"the file has no header: put '{HEADER}' before its first line, or say {NUMBERED}")),
        (f"time,symbol,open,high,low,close,volume\n{T0},ETH/USD,1,1,1,1,1\n", {},
         "line 2: symbol 'ETH/USD' is ETH-USD:1h, but the file's name, a folder or a flag says BTC-USD and 1h"),
        (f"time,symbol,open,high,low,close,volume\n{T0},bitcoin,1,1,1,1,1\n", {},
         "line 2: symbol 'bitcoin' symbol 'bitcoin' is not a product id; allowed: capitals"),
        (f"time,open,high,low,close,volume\n{T0},1,1,1,1,1\nsoon,1,1,1,1,1\n", {},
         "line 3: time 'soon' is not a whole number of seconds since 1970 (at most 12 digits)"),
        (f"date,open,high,low,close,volume\n{HOURS},1,1,1,1,1\n2026-01-31 14:00,1,1,1,1,1\n", {},
         "line 3: date '2026-01-31 14:00' has no time zone, but others have; allowed: a zone in each, or --time-zone"),
        ("date,open,high,low,close,volume\n2026-10-25 01:00,1,1,1,1,1\n2026-10-25 02:00,1,1,1,1,1\n",
         {"time_zone": "Europe/Berlin"},
         "line 3: date '2026-10-25 02:00' is repeated or skipped by a clock change in zone Europe/Berlin"),
        (f"date,open,high,low,close,volume\n{HOURS},1,1,1,1,1\n1969-12-31T13:00Z,1,1,1,1,1\n", {},
         "line 3: date '1969-12-31T13:00Z' lies before 1970 or between two milliseconds"),
        (f"time;open;high;low;close;volume\n{T0};1,5;2,5;1;1;1\n", {}, "line 2: open '1,5' is not a finite"),
        (f'time,open,high,low,close,volume\n{T0},1,1"1,1,1,1\n', {}, "line 2: high '1\"1' is not a finite decimal"),
    ],
)  # fmt: skip
def test_what_is_open_is_refused_with_the_column_and_what_is_allowed(path, text, said, fault):
    assert refused(path, text, **said).startswith(fault)


@pytest.mark.parametrize("names", ["volume_eur,volume_usd", "turnover,trades"])
def test_gaps_need_no_more_than_the_time(path, names):
    path.write_text(f"time,open,high,low,close,{names}\n{T0},what,ever,1,2,3,4\n")
    naming = Naming(SERIES.symbol, SERIES.timeframe)
    [part] = read_parts(path, naming=naming, hints=Hints(), needed=())
    assert (list(part.starts), part.texts) == ([T0 * 1_000], [""])
    assert part.read_as.startswith("time 'time' (seconds), not read: 'open', 'high', 'low', 'close', ")


def test_each_series_of_a_file_is_told_apart(path):
    lines = [f"{symbol},{frame},{T0 + hour * HOUR},1,2,0.5,1.5,{hour}" for hour in range(3)
             for symbol, frame in (("ETH/USD", "1h"), ("BTC-USD", "1h"), ("ETHUSD", "ONE_HOUR"))]  # fmt: skip
    path.write_text("market,interval,time,open,high,low,close,volume\n" + "\n".join(lines))
    naming = Naming.of(path, Hints())
    parts = {str(part.series): part for part in read_parts(path, naming=naming)}
    assert {name: (part.rows, part.duplicates) for name, part in parts.items()} == {
        "ETH-USD:1h": (6, 3), "BTC-USD:1h": (3, 0),
    }  # fmt: skip


def test_parts_of_a_long_file_are_read_one_by_one(path):
    path.write_text(f"{HEADER}\n" + "".join(f"{minute * 60_000},1,1,1,1,1\n" for minute in range(2_500)))
    taken: list[int] = []
    parts = list(read_parts(path, most=1_000, advance=taken.append))
    assert [len(part.starts) for part in parts] == [1_000, 1_000, 500]
    assert [part.starts[0] // 60_000 for part in parts] == [0, 1_000, 2_000]
    assert taken == sorted(taken)
    assert 0 < taken[-1] <= path.stat().st_size


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"columns": "time"}, ("--columns: 'time' is not allowed; allowed: KIND=NAME, with commas between, of the "
         "kinds time, open, high, low, close, volume, symbol, timeframe, each once")),
        ({"columns": "price=a"}, "--columns: 'price=a' is not allowed"),
        ({"columns": "time=a,time=b"}, "--columns: 'time=b' is not allowed"),
        ({"time_unit": "min"}, "--time-unit: unit 'min' is not supported; allowed: s, ms, us, ns"),
        ({"time_zone": "Berlin"}, "--time-zone: timezone 'Berlin' is unknown; allowed: an IANA name such as UTC"),
    ],
)  # fmt: skip
def test_a_flag_that_is_not_allowed_is_named_with_what_is(said, fault):
    with pytest.raises(ConfigError, match=r"^--[a-z-]+: ") as caught:
        hints(**said)
    assert caught.value.faults[0].startswith(fault)
