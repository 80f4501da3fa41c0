"""The routes: the page that answers each path."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs

from reconciler_engine.http_server import Request, Response
from reconciler_engine.observe.exposition import expose
from reconciler_engine.observe.live_candles import FeederState
from reconciler_engine.observe.objective import Objective
from reconciler_engine.observe.readiness import ReadinessCheck, checks, is_live, is_ready
from reconciler_engine.observe.series_state import count_obstacles, count_states, count_verified
from reconciler_engine.observe.status import Report, SeriesCoverage
from reconciler_engine.observe.web.access import Access
from reconciler_engine.observe.web.coverage_page import Asked, Picture, coverage_page
from reconciler_engine.observe.web.http import CSS, HTML, JSON_LINES, TEXT, refuse, show
from reconciler_engine.observe.web.ready_page import Trouble, ready_page
from reconciler_engine.observe.web.series_page import SeriesView, series_page
from reconciler_engine.observe.web.status_pages import status_page

_NAME_LETTERS = 100


class LastReport(NamedTuple):
    """The supervisor's last report (None before the first), and its age."""

    report: Report | None
    age_s: float


class SeriesStates(NamedTuple):
    """State of each series by `symbol:timeframe`; None, with the error, if Redis could not be read."""

    series: Mapping[str, SeriesCoverage] | None
    error: str | None = None
    feeder: FeederState | None = None
    objective: Objective | None = None


class PageReads(Protocol):
    """The reads that the pages need."""

    def last_report(self) -> LastReport:
        """Return the supervisor's last report."""

    async def read_states(self) -> SeriesStates:
        """Return the state of each series when a pass last looked."""

    async def read_trouble(self) -> Trouble:
        """Return the series that are not ready at this moment, and the feeder's state."""

    async def read_picture(self, names: Sequence[str], window: str) -> Picture:
        """Return the current slots of these series over a window, a key of `coverage_page.WINDOWS`."""

    async def read_series(self, name: str) -> SeriesView:
        """Return the content of the page of one series."""


class Routes:
    """Answers requests for pages; changes nothing."""

    def __init__(self, access: Access, reads: PageReads) -> None:
        """Answer the requests that `access` allows, with the results of `reads`."""
        self._access = access
        self._reads = reads
        self._last_report = reads.last_report
        self._read_states = reads.read_states
        self._style = files("reconciler_engine.observe.web").joinpath("style.css").read_bytes()
        self._pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/": self._status,
            "/ready": self._ready,
            "/coverage": self._coverage,
            "/series": self._series,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/style.css": self._css,
        }

    async def respond(self, request: Request) -> Response:
        """Answer one request."""
        refusal = self._access.refuse(request)
        if refusal is not None:
            return refusal
        page = self._pages.get(request.path)
        if page is None:
            text = f"nothing is here; there are {', '.join(self._pages)}\n"
            return show(HTTPStatus.NOT_FOUND, TEXT, text.encode())
        return await page(request)

    async def _livez(self, _: Request) -> Response:
        last = self._last_report()
        check = ReadinessCheck("supervisor", is_live(last.age_s), f"last report {last.age_s:.1f} s ago")
        return show(_status(ready=check.ok), JSON_LINES, _lines([check]))

    async def _readyz(self, _: Request) -> Response:
        found = checks(*self._last_report())
        return show(_status(ready=is_ready(found)), JSON_LINES, _lines(found))

    async def _metrics(self, request: Request) -> Response:
        states = await self._read_states()
        series = states.series
        accept = request.headers.get("accept", "")
        body, content_type = expose(
            *self._last_report(),
            None if series is None else count_states(series),
            None if series is None else count_obstacles(series),
            None if series is None else count_verified(series),
            states.feeder,
            states.objective,
            accept=accept,
        )
        return show(HTTPStatus.OK, content_type, body)

    async def _status(self, request: Request) -> Response:
        states, last = await self._read_states(), self._last_report()
        page = status_page(last.report, checks(*last), states.objective, states.series, live=_is_live(request))
        return show(HTTPStatus.OK, HTML, page)

    async def _coverage(self, request: Request) -> Response:
        try:
            asked = Asked.parse(_query(request))
        except ValueError as error:
            return refuse(HTTPStatus.BAD_REQUEST, str(error))
        states, last = await self._read_states(), self._last_report()
        picture = Picture()
        if states.series:
            _, names = asked.shown(asked.select(states.series))
            picture = await self._reads.read_picture(names, asked.window)
        page = coverage_page(last.report, checks(*last), states.series, states.error, asked, picture)
        return show(HTTPStatus.OK, HTML, page)

    async def _series(self, request: Request) -> Response:
        try:
            (name,) = parse_qs(_query(request), max_num_fields=1).get("name", ["none"])
        except ValueError:
            name = "several"
        states, last = await self._read_states(), self._last_report()
        if states.series is not None and name not in states.series:
            text = f"name {name[:_NAME_LETTERS]!r} is not allowed; allowed: a series that passes look at, as /coverage"
            return refuse(HTTPStatus.BAD_REQUEST, f"{text} names them")
        view = SeriesView(name[:_NAME_LETTERS], error=states.error)
        if states.series is not None:
            view = await self._reads.read_series(name)
        return show(HTTPStatus.OK, HTML, series_page(last.report, checks(*last), view))

    async def _ready(self, request: Request) -> Response:
        trouble, last = await self._reads.read_trouble(), self._last_report()
        page = ready_page(last.report, checks(*last), trouble, live=_is_live(request))
        return show(HTTPStatus.OK, HTML, page)

    async def _css(self, _: Request) -> Response:
        return show(HTTPStatus.OK, CSS, self._style)


def _query(request: Request) -> str:
    return request.target.partition("?")[2]


def _is_live(request: Request) -> bool:
    return _query(request) == "live=1"


def _status(*, ready: bool) -> HTTPStatus:
    return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE


def _lines(found: Sequence[ReadinessCheck]) -> bytes:
    return "".join(f"{json.dumps(check._asdict())}\n" for check in found).encode()
