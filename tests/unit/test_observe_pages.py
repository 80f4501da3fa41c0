"""Contents of the pages; texts of others stay texts."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from tests.unit.test_observe_exposition import BUDGET
from tests.unit.test_observe_readiness import engine, job, report, worker

from reconciler_engine.observe.live_candles import Sighting, sum_up
from reconciler_engine.observe.obstacles import Unready
from reconciler_engine.observe.readiness import checks
from reconciler_engine.observe.status import ScrubStatus, SeriesCoverage
from reconciler_engine.observe.web.coverage_page import PAGE_SERIES, SIGNS, Asked, Picture, Strip, coverage_page
from reconciler_engine.observe.web.html import element
from reconciler_engine.observe.web.ready_page import Trouble, ready_page
from reconciler_engine.observe.web.series_page import Changed, SeriesView, Slots, series_page
from reconciler_engine.observe.web.status_pages import status_page

UNREADY = Unready("BTC-USD", "1m", "not asked for", {"missing": 3, "suspect": 1}, 0, 60_000, 240_000, "the next pass")
FEEDER = sum_up({"BTC-USD:1m": Sighting(600_000, 0, 5_000), "ETH-USD:1m": Sighting(0, 0, 1_000)}, 605_000)
HOUR = 3_600_000
EVIL = "<script>alert('x')</script>\"&"


PICTURE = Picture(
    2 * HOUR,
    [
        Strip(f"{EVIL}:1m", HOUR, 2 * HOUR, ["present", "missing", "missing", None], EVIL, HOUR),
        Strip("BTC-USD:1h", 0, 2 * HOUR, ["present", "unverified"]),
        Strip("ETH-USD:1d", 0, 0, []),
    ],
    3, 2, 400,
)  # fmt: skip
VIEW = SeriesView(
    EVIL, HOUR,
    [Slots(0, 60_000, 2, "suspect", EVIL, 2), Slots(120_000, 120_000, 1, "present", verified=HOUR - 60_000)],
    [Changed(0, "slots", "repaired", EVIL, EVIL, EVIL)], ["3 slots from then"], 1, 7,
)  # fmt: skip


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
        scrub=ScrubStatus(days=1, began=0, pages=2, done=1, unknown=0, round_ms=1, oldest={EVIL: 1}),
        jobs=(job(name=EVIL, cron=EVIL, last_error=EVIL, last_outcome="failed", last_result=result),),
    )  # fmt: skip
    said = report(engine=evil, processes=(worker(name=EVIL),), redis_error=EVIL)
    found = checks(said, 0)
    return [
        status_page(said, found),
        coverage_page(said, found, {f"{EVIL}:1m": state(3), f"{EVIL}:{EVIL}": state(None)}, None),
        coverage_page(said, found, None, EVIL),
        coverage_page(said, found, {}, None),
        coverage_page(said, found, {f"{EVIL}:1m": state(3)}, None, Asked(text="<script>"), PICTURE),
        coverage_page(said, found, {f"{EVIL}:1m": state(3)}, None, Asked(), Picture(error=EVIL)),
        series_page(said, found, VIEW),
        series_page(said, found, SeriesView(EVIL, error=EVIL)),
        status_page(None, checks(None, 1)),
        status_page(said, found, None, {f"{EVIL}:1m": state(3)}, live=True),
        ready_page(said, found, Trouble(0, 5, [UNREADY._replace(symbol=EVIL, reason=EVIL, cure=EVIL)], FEEDER)),
        ready_page(said, found, Trouble(error=EVIL)),
    ]


@pytest.mark.parametrize("page", pages())
def test_nothing_on_a_page_needs_a_looser_policy(page):
    read = Reader(page)
    assert {"script", "style", "iframe", "img"}.isdisjoint(read.tags)
    assert "style" not in read.attributes
    assert not [name for name in read.attributes if name.startswith("on")]
    assert b"<script" not in page


def test_the_status_page_says_how_everything_stands():
    texts = " ".join(Reader(pages()[0]).texts)
    for words in ("SIMULATED", "not ready", f"redis: {EVIL}", f"{EVIL}, last error: {EVIL}", "60 of 300", "5 a second"):
        assert words in texts


def test_the_status_page_tells_how_many_candles_of_the_last_pass_differed():
    said = report(engine=engine(jobs=(job(last_result={"gaps_found": 1, "mismatched": 17, "repaired": 16}),)))
    texts = Reader(status_page(said, checks(said, 0))).texts
    head = texts.index("differing from the exchange")
    at = texts.index("17")
    assert texts[head + 1] == "repaired"
    assert texts[at + 1] == "16"


def test_the_coverage_page_shows_each_cell_by_its_sign_its_word_and_the_reason():
    said = report()
    page = coverage_page(said, checks(said, 0), {"BTC-USD:1m": state(3)}, None, Asked(), PICTURE)
    texts = Reader(page).texts
    strip = texts.index(f"{EVIL}:1m")
    assert texts[strip + 1 : strip + 5] == [
        SIGNS["present"],
        SIGNS["missing"],
        SIGNS["missing"],
        f"{EVIL}; since 1 h 0 m ago",
    ]
    told = 'aria-label="BTC-USD:1h: unverified from 1970-01-01T01:00Z to 1970-01-01T02:00Z"'
    assert told in page.decode()
    plan = "at 1970-01-01T02:00:00Z: 3 slots missing; to fill and verify them 2 requests, 0.4 s at the current budget."
    assert any(text.endswith(plan) for text in texts)
    assert len(set(SIGNS.values())) == len(SIGNS)


def test_the_status_page_tells_the_round_of_the_scrub_and_the_oldest_verification():
    scrub = ScrubStatus(days=30, began=0, pages=40, done=13, unknown=0, round_ms=90_000, oldest={"1m": 0})
    said = report(engine=engine(written_at=7_200_000, scrub=scrub))
    texts = Reader(status_page(said, checks(said, 0))).texts
    assert "13 of 40 pages compared again since 1970-01-01T00:00Z" in texts
    assert "within 30 d, at least 1 m 30 s" in texts
    assert "1m 2 h 0 m" in texts


def test_the_least_that_would_fill_all_series_is_told_at_the_current_budget():
    series = {"A-USD:1m": state(301), "B-USD:1m": state(1), "C-USD:1m": state(0), "D-USD:1m": state(None)}
    said = report(engine=engine(budget=BUDGET.model_copy(update={"rate_per_s": 2.0, "share": 0.5})))
    texts = Reader(coverage_page(said, checks(said, 0), series, None)).texts
    assert "1 of 4" in texts
    assert (
        " series ready when a pass last looked; 302 slots missing in 2 series: at least 3 requests, "
        "3.0 s at the current budget."
    ) in " ".join(texts).replace("looked;  ", "looked; ")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["BBB-USD:5m", "AAA-USD:1m", "BBB-USD:1m", "CCC-EUR:1m"]),
        ("text=bb", ["BBB-USD:5m", "BBB-USD:1m"]),
        ("timeframe=1m&text=usd", ["AAA-USD:1m", "BBB-USD:1m"]),
        ("unready=1", ["BBB-USD:5m", "AAA-USD:1m"]),
        ("text=nothing&window=kept", []),
    ],
)
def test_series_are_chosen_by_name_timeframe_and_trouble(query, names):
    doubted = state(0).model_copy(update={"obstacles": {"not at the exchange": 2}})
    series = {"AAA-USD:1m": doubted, "BBB-USD:5m": state(3), "BBB-USD:1m": state(0), "CCC-EUR:1m": state(0)}
    assert Asked.parse(query).select(series) == names


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("window=7h", "window '7h' is not allowed; allowed: 6h, 24h, kept"),
        ("page=-1", "page '-1' is not allowed; allowed: a whole number from 1 to 999999"),
        ("&".join(f"a{number}=1" for number in range(11)), "Max number of fields exceeded"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(query, fault):
    with pytest.raises(ValueError, match=re.escape(fault)):
        Asked.parse(query)


def test_a_great_many_series_come_by_pages_and_a_page_past_the_last_is_the_last():
    series = {f"S{number:04}-USD:1m": state(0) for number in range(2 * PAGE_SERIES + 7)}
    asked = Asked.parse("page=900&unready=&text=s")
    page, names = asked.shown(asked.select(series))
    assert (page, len(names)) == (3, 7)
    said = report()
    shown = coverage_page(said, checks(said, 0), series, None, asked, Picture(strips=[Strip("S0100-USD:1m", 0, 0, [])]))
    links = re.findall(r'<nav class="pages".*?</nav>', shown.decode()) or re.findall(
        r"page 3 of 3.*?</nav>", shown.decode()
    )
    assert "page=2" in links[0]
    assert "next" not in links[0]


def test_the_page_of_a_series_tells_its_slots_its_changes_and_what_comes():
    said = report()
    texts = Reader(series_page(said, checks(said, 0), VIEW)).texts
    assert any(
        text == "The next pass requests 3 slots from then: 1 request. 7 slots missing further back than passes look: "
        "`backfill` fills them."
        for text in texts
    )
    at = texts.index("1970-01-01T00:00Z")
    told = ["1970-01-01T00:00Z", "2", "?", "suspect", f": {EVIL}", "-", "2", "1970-01-01T00:01Z"]
    assert texts[at : at + 8] == told
    assert "1 m 0 s ago" in texts
    calm = Reader(series_page(said, checks(said, 0), SeriesView("A-USD:1m", 0))).texts
    assert "No stored candle was changed." in calm


def test_the_first_sentence_says_how_engine_and_series_stand_and_what_to_do():
    well, series = report(), {"A-USD:1m": state(0), "B-USD:1m": state(0)}
    assert first_sentence(well, series) == "The engine is ready . All series are ready."
    lacking = {**series, "B-USD:1m": state(3), "C-USD:1m": state(None)}
    told = "The engine is ready .  2 of 3 series  are not ready: C-USD:1m unknown; B-USD:1m 3 missing."
    assert first_sentence(well, lacking) == told
    away = report(redis_error="connection refused", processes=(worker(pid=None, last_beat_ms=None),))
    sentence = "redis: connection refused; repair Redis; the engine then continues by itself."
    assert first_sentence(away, {}) == f"The engine is not ready : {sentence}"


def first_sentence(said, series) -> str:
    page = status_page(said, checks(said, 0), None, series).decode()
    return " ".join(Reader(page[page.index('<p class="banner') : page.index("</p>")].encode()).texts)


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
    at = texts.index("for too long") + 1
    assert texts[at : at + 10] == ["1m", "300", "300", "-", "0", "5m", "600", "597", "40 m 0 s", "2"]
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
    assert "Redis could not be read, so no readiness is known: away" in silent
