"""The web child: serves pages on the state of the engine, from the supervisor's reports and from Redis."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from pydantic import ValidationError

from reconciler_engine.engine.ready import sort_out
from reconciler_engine.errors import StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.observe.live_candles import sum_up
from reconciler_engine.observe.series_state import worst_first
from reconciler_engine.observe.status import EngineStatus, Report
from reconciler_engine.observe.web.access import Access
from reconciler_engine.observe.web.coverage_page import Picture
from reconciler_engine.observe.web.ready_page import ASKED, BARS, Trouble
from reconciler_engine.observe.web.routes import LastReport, Routes, SeriesStates
from reconciler_engine.observe.web.series_page import SeriesView
from reconciler_engine.observe.web.server import serve
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.coverage import Coverage
from reconciler_engine.store.feeder_watch import FeederWatch
from reconciler_engine.store.node_watch import hide_unreachable
from reconciler_engine.store.objective_counts import ObjectiveCounts
from reconciler_engine.store.product_list import ProductListStore
from reconciler_engine.store.ready_question import ReadyOptions, ReadyQuestion
from reconciler_engine.store.ready_steps import examine_all
from reconciler_engine.store.status_board import scope_of

if TYPE_CHECKING:
    from reconciler_engine.engine.live_picture import LivePicture

_KEPT = 16
_T = TypeVar("_T")

REPORT_BYTES = 256 * 1024
"""Greatest size of a report."""

_REDIS_TIMEOUT_S = 2.0
_KEPT_S = 2.0
_TROUBLE_KEPT_S = 10.0
_LOOK_KEPT_S = 5.0
_NOT_BEGUN = "the engine has not begun to work"


async def run_web(message: dict[str, Any], do: Callable[[WebRole], Awaitable[None]]) -> None:
    """Serve the pages by the child's spec.

    `listener` and `reports` are inherited file descriptors: a listening socket, and the receiving end of a pair of
    datagram sockets for reports. `token` is the token required of every request, or None; `hosts` are the host names
    allowed in requests; `redis_url` is the URL of the cache.
    """
    listener = socket.socket(fileno=message["listener"])
    reports = socket.socket(fileno=message["reports"])
    for inherited in (listener, reports):
        inherited.settimeout(0)
    with listener, reports:
        async with TrioRedis.from_url(message["redis_url"], timeout_s=_REDIS_TIMEOUT_S) as client:
            access = Access(message["hosts"], message.pop("token"))
            await do(WebRole(listener, reports, access, client))


class WebRole:
    """Serves the pages on a socket of the supervisor, which stays open for the next web child if this process dies."""

    def __init__(self, listener: socket.socket, reports: socket.socket, access: Access, client: TrioRedis) -> None:
        self._listener = listener
        self._reports = reports
        self._client = client
        self._routes = Routes(access, self)
        self._serving = trio.CancelScope()
        self._report: Report | None = None
        self._began = time.monotonic()
        self._states: KeptReads[SeriesStates] = KeptReads(_KEPT_S)
        self._troubles: KeptReads[Trouble] = KeptReads(_TROUBLE_KEPT_S)
        self._pictures: KeptReads[Picture] = KeptReads(_LOOK_KEPT_S)
        self._views: KeptReads[SeriesView] = KeptReads(_LOOK_KEPT_S)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained."""
        with self._serving:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._listener))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear)
                nursery.start_soon(serve, [listener], self._routes.respond)
                task_status.started()

    def drain(self) -> None:
        """Stop serving."""
        self._serving.cancel()

    @property
    def tasks_done(self) -> int:
        """Always 1: a running web child counts as useful."""
        return 1

    async def _hear(self) -> None:
        """Receive reports and keep the newest."""
        reports = trio.socket.from_stdlib_socket(self._reports)
        while True:
            said = await reports.recv(REPORT_BYTES)
            try:
                self._report = Report.model_validate_json(said)
            except ValidationError:
                # The supervisor is of another version; the pages will show that reports are missing.
                continue

    def last_report(self) -> LastReport:
        """Return the last report and its age; before the first report, None and the age of this process."""
        if self._report is None:
            return LastReport(None, time.monotonic() - self._began)
        return LastReport(self._report, self._report.age_s)

    async def read_states(self) -> SeriesStates:
        """Return the states of all series, read at most every two seconds for all requests together."""
        engine = None if self._report is None else self._report.engine
        if engine is None:
            return SeriesStates(None, _NOT_BEGUN)

        async def read() -> SeriesStates:
            try:
                scope = scope_of(engine)
                series = hide_unreachable(await Coverage(self._client, scope).read(), engine)
                feeder = sum_up(await FeederWatch(self._client, scope).read(), engine.written_at)
                objective = await ObjectiveCounts(self._client, scope).read_objective(engine)
                return SeriesStates(series, feeder=feeder, objective=objective)
            except StoreError as error:
                return SeriesStates(None, str(error))

        return await self._states.get("states", read)

    async def read_trouble(self) -> Trouble:
        """Ask the ready gate about the series, at most every ten seconds for all requests together."""
        states = await self.read_states()
        engine = None if self._report is None else self._report.engine
        if engine is None:
            return Trouble(error=_NOT_BEGUN)

        async def read() -> Trouble:
            if states.series is None:
                return Trouble(error=states.error)
            try:
                questions = _questions(engine, [name for name, _ in worst_first(states.series)[:ASKED]])
                listed = await ProductListStore(self._client, scope_of(engine)).read()
                unready = sort_out(questions, await examine_all(self._client, questions), listed.why_absent)
                return Trouble(engine.written_at, len(questions), unready, states.feeder)
            except StoreError as error:
                return Trouble(error=str(error))

        return await self._troubles.get("trouble", read)

    async def read_picture(self, names: Sequence[str], window: str) -> Picture:
        """Return the present states of the slots of series, read at most every five seconds."""

        async def read() -> Picture:
            try:
                return await self._live().picture([one for name in names if (one := Series.named(name))], window)
            except (StoreError, ValueError) as error:
                return Picture(error=str(error))

        return await self._pictures.get((window, *names), read)

    async def read_series(self, name: str) -> SeriesView:
        """Return the states of one series, read at most every five seconds."""

        async def read() -> SeriesView:
            try:
                return await self._live().view(Series.parse(name))
            except (StoreError, ValueError) as error:
                return SeriesView(name, error=str(error))

        return await self._views.get(name, read)

    def _live(self) -> LivePicture:
        """Return a reader with the engine's present settings.

        Raises:
            ValueError: The engine has not reported its settings.
        """
        # Loaded only when such a page is first requested.
        from reconciler_engine.engine.live_picture import LivePicture  # noqa: PLC0415

        if self._report is None or self._report.engine is None:
            raise ValueError(_NOT_BEGUN)
        return LivePicture(self._client, self._report.engine, self._report.settings)


def _questions(engine: EngineStatus, names: Sequence[str]) -> list[ReadyQuestion]:
    """Return the questions to the ready gate for named series, with the engine's settings."""
    options: ReadyOptions = {"user_id": engine.user_id, "exchange_id": engine.exchange_id, "layout": engine.layout}
    if engine.grace_ms is not None and engine.max_unverified_ms is not None:
        options |= {"grace_ms": engine.grace_ms, "max_unverified_ms": engine.max_unverified_ms}
    asked = []
    for name in names:
        # A name from Redis may be invalid.
        with suppress(ValueError):
            series = Series.parse(name)
            asked.append(ReadyQuestion(series.symbol, series.timeframe, BARS, **options))
    return asked


class KeptReads(Generic[_T]):
    """Caches the results of reads by key for `kept_s` seconds; it keeps the `_KEPT` most recently used."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._turn = trio.Lock()
        self._answers: dict[Hashable, tuple[float, _T]] = {}

    async def get(self, asked: Hashable, read: Callable[[], Awaitable[_T]]) -> _T:
        """Return the cached result of `asked` if it is fresh, else that of `read`."""
        async with self._turn:
            kept = self._answers.pop(asked, None)
            if kept is None or trio.current_time() - kept[0] >= self._kept_s:
                answer = await read()
                kept = (trio.current_time(), answer)
            self._answers[asked] = kept
            while len(self._answers) > _KEPT:
                self._answers.pop(next(iter(self._answers)))
            return kept[1]
