"""The site: which path shows what."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import NamedTuple

from reconciler_engine.observe.exposition import expose
from reconciler_engine.observe.readiness import Check, checks, is_live, is_ready
from reconciler_engine.observe.report import Report
from reconciler_engine.observe.series_state import SeriesState, count_states
from reconciler_engine.observe.web.access import Door
from reconciler_engine.observe.web.http import CSS, HTML, JSON_LINES, TEXT, Answer, Request
from reconciler_engine.observe.web.pages import coverage_page, status_page


class Known(NamedTuple):
    """What is known at the moment: the supervisor's last report, and how old that is."""

    report: Report | None
    age_s: float


class SeriesStates(NamedTuple):
    """How each series stood, by `symbol:timeframe`; None with an error where Redis did not say."""

    series: Mapping[str, SeriesState] | None
    error: str | None = None


class Routes:
    """Answers requests. Nothing it does changes anything."""

    def __init__(self, door: Door, known: Callable[[], Known], stand: Callable[[], Awaitable[SeriesStates]]) -> None:
        """Show what `known` knows and `stand` reads."""
        self._door = door
        self._known = known
        self._stand = stand
        self._style = files("reconciler_engine.observe.web").joinpath("style.css").read_bytes()
        self._pages: dict[str, Callable[[Request], Awaitable[Answer]]] = {
            "/": self._status,
            "/coverage": self._coverage,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/style.css": self._css,
        }

    async def respond(self, request: Request) -> Answer:
        """Answer one request."""
        refusal = self._door.refuse(request)
        if refusal is not None:
            return refusal
        page = self._pages.get(request.path)
        if page is None:
            text = f"nothing is here; there are {', '.join(self._pages)}\n"
            return Answer(HTTPStatus.NOT_FOUND, TEXT, text.encode())
        return await page(request)

    async def _livez(self, _: Request) -> Answer:
        known = self._known()
        check = Check("supervisor", is_live(known.age_s), f"last heard of {known.age_s:.1f} s ago")
        return Answer(_status(ready=check.ok), JSON_LINES, _lines([check]))

    async def _readyz(self, _: Request) -> Answer:
        found = checks(*self._known())
        return Answer(_status(ready=is_ready(found)), JSON_LINES, _lines(found))

    async def _metrics(self, request: Request) -> Answer:
        series = (await self._stand()).series
        states = None if series is None else count_states(series)
        body, content_type = expose(*self._known(), states, accept=request.headers.get("accept", ""))
        return Answer(HTTPStatus.OK, content_type, body)

    async def _status(self, _: Request) -> Answer:
        known = self._known()
        return Answer(HTTPStatus.OK, HTML, status_page(known.report, checks(*known)))

    async def _coverage(self, _: Request) -> Answer:
        stand, known = await self._stand(), self._known()
        return Answer(HTTPStatus.OK, HTML, coverage_page(known.report, checks(*known), *stand))

    async def _css(self, _: Request) -> Answer:
        return Answer(HTTPStatus.OK, CSS, self._style)


def _status(*, ready: bool) -> HTTPStatus:
    return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE


def _lines(found: Sequence[Check]) -> bytes:
    return "".join(f"{json.dumps(check._asdict())}\n" for check in found).encode()
