"""The routes: the path of each page."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import NamedTuple

from reconciler_engine.http_server import Request, Response
from reconciler_engine.observe.engine_report import Report
from reconciler_engine.observe.exposition import expose
from reconciler_engine.observe.live_candles import FeederState
from reconciler_engine.observe.objective import Objective
from reconciler_engine.observe.readiness import ReadinessCheck, checks, is_live, is_ready
from reconciler_engine.observe.series_state import SeriesState, count_obstacles, count_states, count_verified
from reconciler_engine.observe.web.access import Access
from reconciler_engine.observe.web.http import CSS, HTML, JSON_LINES, TEXT, show
from reconciler_engine.observe.web.ready_page import Trouble, ready_page
from reconciler_engine.observe.web.status_pages import coverage_page, status_page


class LastReport(NamedTuple):
    """The supervisor's last report, None before the first, and the time since it came."""

    report: Report | None
    age_s: float


class SeriesStates(NamedTuple):
    """How each series stood, by `symbol:timeframe`; None with an error where Redis did not say."""

    series: Mapping[str, SeriesState] | None
    error: str | None = None
    feeder: FeederState | None = None
    objective: Objective | None = None


class Routes:
    """Answers requests. Nothing it does changes anything."""

    def __init__(
        self,
        access: Access,
        last_report: Callable[[], LastReport],
        read_states: Callable[[], Awaitable[SeriesStates]],
        read_trouble: Callable[[], Awaitable[Trouble]],
    ) -> None:
        """Show the last report, the states of the series, and unready ones, to requests that `access` lets in."""
        self._access = access
        self._last_report = last_report
        self._read_states = read_states
        self._read_trouble = read_trouble
        self._style = files("reconciler_engine.observe.web").joinpath("style.css").read_bytes()
        self._pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/": self._status,
            "/ready": self._ready,
            "/coverage": self._coverage,
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
        check = ReadinessCheck("supervisor", is_live(last.age_s), f"last heard of {last.age_s:.1f} s ago")
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

    async def _status(self, _: Request) -> Response:
        states, last = await self._read_states(), self._last_report()
        return show(HTTPStatus.OK, HTML, status_page(last.report, checks(*last), states.objective))

    async def _coverage(self, _: Request) -> Response:
        states, last = await self._read_states(), self._last_report()
        return show(HTTPStatus.OK, HTML, coverage_page(last.report, checks(*last), *states[:2]))

    async def _ready(self, _: Request) -> Response:
        trouble, last = await self._read_trouble(), self._last_report()
        return show(HTTPStatus.OK, HTML, ready_page(last.report, checks(*last), trouble))

    async def _css(self, _: Request) -> Response:
        return show(HTTPStatus.OK, CSS, self._style)


def _status(*, ready: bool) -> HTTPStatus:
    return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE


def _lines(found: Sequence[ReadinessCheck]) -> bytes:
    return "".join(f"{json.dumps(check._asdict())}\n" for check in found).encode()
