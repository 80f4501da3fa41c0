"""The pages: what is shown, and that texts of others stay texts."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from tests.unit.test_observe_exposition import BUDGET
from tests.unit.test_observe_readiness import engine, job, report, worker

from reconciler_engine.observe.live_candles import Sighting, sum_up
from reconciler_engine.observe.readiness import checks
from reconciler_engine.observe.unready import Unready
from reconciler_engine.observe.web.html import element
from reconciler_engine.observe.web.ready_page import Trouble, ready_page
from reconciler_engine.observe.web.status_pages import SYMBOLS_SHOWN, coverage_page, status_page
from reconciler_engine.store.coverage import SeriesCoverage

UNREADY = Unready("BTC-USD", "1m", "not asked for", {"missing": 3, "suspect": 1}, 0, 60_000, 240_000, "the next pass")
FEEDER = sum_up({"BTC-USD:1m": Sighting(600_000, 0, 5_000), "ETH-USD:1m": Sighting(0, 0, 1_000)}, 605_000)
EVIL = "<script>alert('x')</script>\"&"


class Reader(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.texts.append(data)


def state(missing, at=600_000):
    return SeriesCoverage(complete_from=0, complete_through=at, missing=missing, checked_at=at)


def test_texts_and_attributes_are_escaped_and_elements_are_not():
    made = element("p", EVIL, element("b", 1), None, [element("i", "&"), "<"], title=EVIL, hidden=True, class_=None)
    assert str(made) == (
        '<p title="&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;" hidden>'
        "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;<b>1</b><i>&amp;</i>&lt;</p>"
    )


def pages():
    result = {"gaps_found": 1, "missing": 2, "filled": 1, "unresolved": 1, "requests": 1, "errors": [EVIL]}
    evil = engine(
        node=EVIL, source=EVIL, simulated=True, budget=BUDGET, queued={"live": 2},
        jobs=(job(name=EVIL, cron=EVIL, last_error=EVIL, last_outcome="failed", last_result=result),),
    )  # fmt: skip
    said = report(engine=evil, processes=(worker(name=EVIL),), redis_error=EVIL)
    found = checks(said, 0)
    return [
        status_page(said, found),
        coverage_page(said, found, {f"{EVIL}:1m": state(3), f"{EVIL}:{EVIL}": state(None)}, None),
        coverage_page(said, found, None, EVIL),
        coverage_page(said, found, {}, None),
        status_page(None, checks(None, 1)),
        ready_page(said, found, Trouble(0, 5, [UNREADY._replace(symbol=EVIL, reason=EVIL, cure=EVIL)], FEEDER)),
        ready_page(said, found, Trouble(error=EVIL)),
    ]


@pytest.mark.parametrize("page", pages())
def test_nothing_on_a_page_needs_a_looser_policy(page):
    read = Reader(page)
    assert {"script", "style", "form", "iframe", "img"}.isdisjoint(read.tags)
    assert "style" not in read.attributes
    assert not [name for name in read.attributes if name.startswith("on")]
    assert b"<script" not in page


def test_the_status_page_says_how_everything_stands():
    texts = " ".join(Reader(pages()[0]).texts)
    for words in ("SIMULATED", "not ready", f"redis: {EVIL}", f"{EVIL}, last error: {EVIL}", "60 of 300", "5 a second"):
        assert words in texts


def test_the_coverage_page_is_a_grid_with_the_worst_first():
    series = {
        "AAA-USD:1m": state(0), "AAA-USD:1h": state(0), "BBB-USD:1m": state(1_234), "CCC-USD:1m": state(None),
    }  # fmt: skip
    texts = Reader(coverage_page(report(), checks(report(), 0), series, None)).texts
    assert "2 of 4" in texts
    heads = texts.index("symbol")
    assert texts[heads : heads + 9] == [
        "symbol", "1m", "1h", "CCC-USD", "unknown", "BBB-USD", "1,234 missing", "AAA-USD", "ready",
    ]  # fmt: skip
    lacking = texts.index("what lacks most")
    assert [text for text in texts[lacking:] if text.endswith(":1m")] == ["CCC-USD:1m", "BBB-USD:1m"]


def test_a_series_with_every_candle_and_a_suspect_one_is_told_with_the_reason():
    doubted = state(0).model_copy(update={"obstacles": {"not at the exchange": 2}})
    texts = Reader(coverage_page(report(), checks(report(), 0), {"AAA-USD:1m": doubted}, None)).texts
    assert texts.count("2 suspect (not at the exchange)") == 2


def test_a_great_many_symbols_are_cut_and_counted():
    series = {f"S{number}-USD:1m": state(0) for number in range(SYMBOLS_SHOWN + 7)}
    page = coverage_page(report(), checks(report(), 0), series, None)
    assert page.count(b">ready</td>") == SYMBOLS_SHOWN
    assert b"7 more symbols, which lack less, are not shown" in page


def test_the_coverage_page_tells_verified_reach_and_the_gates_reasons():
    whole = SeriesCoverage(
        complete_from=0, complete_through=1, missing=0, checked_at=1, present=300, verified=300, unverified=0
    )
    late = whole.model_copy(
        update={"verified": 297, "unverified_since": engine().written_at - 2_400_000, "obstacles": {"unverified": 2}}
    )
    said = report()
    series = {"A-USD:5m": whole, "B-USD:5m": late, "A-USD:1m": whole, f"{EVIL}:{EVIL}": whole}
    texts = Reader(coverage_page(said, checks(said, 0), series, None)).texts
    at = texts.index("unverified for too long") + 1
    assert texts[at : at + 10] == ["1m", "300", "300", "-", "0", "5m", "600", "597", "40 m 0 s", "2"]
    assert "2 unverified" in texts
    assert any("`reconciler-engine doctor` says what to change" in text for text in texts)
    calm = Reader(coverage_page(said, checks(said, 0), {"A-USD:5m": whole}, None)).texts
    assert not any("doctor" in text for text in calm)


def test_the_ready_page_says_what_is_not_ready_and_how_the_feeder_does():
    texts = Reader(ready_page(report(), checks(report(), 0), Trouble(120_000, 7, [UNREADY], FEEDER))).texts
    for words in ("6 of 7", "BTC-USD:1m", "3 missing, 1 suspect", "1 m 0 s ago", "series stopped"):
        assert words in texts
    assert "the next pass; asked again from 1970-01-01T00:04Z" in texts
    assert "stopped: BTC-USD:1m" in texts
    calm = Reader(ready_page(report(), checks(report(), 0), Trouble(0, 7, [], sum_up({}, 0)))).texts
    assert ("7 of 7" in calm, "none seen" in calm, "cure" in calm) == (True, True, False)
    silent = " ".join(Reader(ready_page(None, checks(None, 1), Trouble(error="away"))).texts)
    assert "Redis does not say what is ready: away" in silent
