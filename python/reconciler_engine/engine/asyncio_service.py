"""The engine inside a host's own asyncio program: the trio service, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio

from reconciler_engine.config import DEFAULT_RECONCILIATION_CONFIG, ReconciliationConfig
from reconciler_engine.engine.service import ReconciliationService
from reconciler_engine.market.result import ReconciliationResult

_T = TypeVar("_T")
_NOT_OPEN: Final = "the service is not open; use it inside `async with`"


class AsyncioReconciliationService:
    """Keeps a cache complete from within an asyncio program: `ReconciliationService` in a thread of its own.

    ```python
    import asyncio
    from reconciler_engine import AsyncioReconciliationService, ReconciliationConfig


    async def main() -> None:
        config = ReconciliationConfig(batch_size=5, batch_delay_ms=1_000)
        async with AsyncioReconciliationService(None, None, "redis://localhost:6379/0", config) as service:
            await service.start(["BTC-USD", "ETH-USD"], ["1m", "5m"])
            result = await service.perform_gap_scan()
            print(f"{result.filled} of {result.missing} missing candles filled, {result.unresolved} left")


    asyncio.run(main())
    ```

    Methods, lifecycle, ownership and errors are those of `ReconciliationService`. The thread begins and ends with the
    block. The engine's work does not block the event loop.

    Cancellation. A cancelled call raises once the engine has ended it. Leaving the block waits up to 20 s for started
    pages; a cancellation of the block ends that wait, or skips it. If a task of the engine fails, the block is
    cancelled and raises that failure.
    """

    def __init__(
        self,
        api_key_id: str | None,
        private_key_pem: str | None,
        redis_url: str,
        config: ReconciliationConfig = DEFAULT_RECONCILIATION_CONFIG,
    ) -> None:
        """Check the settings; see `ReconciliationService`, except that Redis is given as a URL only."""
        self._service = ReconciliationService(api_key_id, private_key_pem, redis_url, config)
        self._run: _Run | None = None

    def __repr__(self) -> str:
        return f"<Asyncio{repr(self._service)[1:]}"

    async def __aenter__(self) -> Self:
        """Start the thread and open the engine; errors are those of `ReconciliationService`."""
        if self._run is not None:
            raise RuntimeError("an AsyncioReconciliationService is entered once; make another one")
        self._run = _Run(self._service)
        await self._run.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is None:
            raise RuntimeError(_NOT_OPEN)
        await self._run.close(error)

    async def start(self, symbols: Sequence[str] | None = None, timeframes: Sequence[str] | None = None) -> None:
        """Start the schedule; see `ReconciliationService.start`."""
        await self._call(lambda: self._service.start(symbols, timeframes))

    async def stop(self) -> None:
        """End the schedule; see `ReconciliationService.stop`."""
        await self._call(self._service.stop)

    async def perform_gap_scan(self) -> ReconciliationResult:
        """Fill the gaps of the newest bars; see `ReconciliationService.perform_gap_scan`."""
        return await self._call(self._service.perform_gap_scan)

    async def perform_full_reconciliation(self) -> ReconciliationResult:
        """Fill all gaps of the window; see `ReconciliationService.perform_full_reconciliation`."""
        return await self._call(self._service.perform_full_reconciliation)

    async def perform_verification(self) -> ReconciliationResult:
        """Ask for the candles that are due; see `ReconciliationService.perform_verification`."""
        return await self._call(self._service.perform_verification)

    async def _call(self, method: Callable[[], Awaitable[_T]]) -> _T:
        if self._run is None:
            raise RuntimeError(_NOT_OPEN)
        return await self._run.call(method)


class _Run:
    """One trio run in a thread, with the service open in it, on behalf of the asyncio task that opened the block."""

    def __init__(self, service: ReconciliationService) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._host = asyncio.current_task()
        self._opened = self._loop.create_future()
        self._ended = self._loop.create_future()
        self._life = trio.CancelScope()
        self._leaving = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._calls: trio.Nursery | None = None
        self._is_inside = self._is_over = False
        self._thread = threading.Thread(target=self._main, name="reconciler-engine")

    async def open(self) -> None:
        """Start the thread; return once the service is open.

        Raises:
            BaseException: The service could not be opened; the thread has ended.
        """
        self._thread.start()
        try:
            await asyncio.wait({self._opened, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._end(in_order=False)
            raise
        if not self._opened.done():
            await self._end(in_order=False)
            raise self._ended.result() or RuntimeError(_NOT_OPEN)
        self._is_inside = True

    async def close(self, error: BaseException | None) -> None:
        """End the service and the thread: with a wait for started pages, or at once if the block was cancelled.

        Raises:
            BaseException: A task of the engine failed. Its failure replaces the cancellation that it caused.
        """
        self._is_inside = False
        is_told = isinstance(error, asyncio.CancelledError) and self._ended.done() and self._ended.result() is not None
        await self._end(in_order=not isinstance(error, asyncio.CancelledError))
        failure = self._ended.result()
        if failure is not None and (error is None or is_told):
            if is_told and self._host is not None:
                self._host.uncancel()
            raise failure

    async def call(self, method: Callable[[], Awaitable[_T]]) -> _T:
        """Await a method in the engine's thread; a cancelled call raises after the method has ended there."""
        done: asyncio.Future[_T] = self._loop.create_future()
        scope = trio.CancelScope()
        self._soon(self._begin, method, done, scope)
        cancelled: asyncio.CancelledError | None = None
        while not done.done():
            try:
                await asyncio.wait({done, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError as error:
                cancelled = error
                self._soon(scope.cancel)
            if self._ended.done() and not done.done():
                done.set_exception(RuntimeError("the service ended before the call did"))
        failure = done.exception()
        if cancelled is not None:
            raise cancelled
        if failure is not None:
            raise failure
        return done.result()

    def _soon(self, act: Callable[..., object], *arguments: Any) -> None:
        """Schedule a call in the trio run; do nothing if the run has ended."""
        # A run that has not begun checks `_is_over` when it begins.
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(act, *arguments)

    async def _end(self, *, in_order: bool) -> None:
        """Wait until the thread has ended; a cancellation hastens that end and is raised after it."""
        cancelled: asyncio.CancelledError | None = None
        self._is_over = not in_order
        self._soon(self._leaving.set if in_order else self._life.cancel)
        while not self._ended.done():
            try:
                await asyncio.wait({self._ended})
            except asyncio.CancelledError as error:
                cancelled = error
                self._soon(self._life.cancel)
        self._thread.join()
        if cancelled is not None:
            raise cancelled

    def _main(self) -> None:
        """Run the service in this thread until the block is left; report its failure or None to the event loop."""
        failure: BaseException | None = None
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001  the host raises it
            failure = error
        self._tell(self._note_end, failure)

    async def _serve(self) -> None:
        with self._life:
            self._token = trio.lowlevel.current_trio_token()
            if self._is_over:
                return
            async with self._service, trio.open_nursery() as calls:
                self._calls = calls
                self._tell(self._opened.set_result, None)
                try:
                    await self._leaving.wait()
                finally:
                    self._calls = None
                    calls.cancel_scope.cancel()

    def _begin(self, method: Callable[[], Awaitable[_T]], done: asyncio.Future[_T], scope: trio.CancelScope) -> None:
        if self._calls is not None:
            self._calls.start_soon(self._carry_out, method, done, scope)

    async def _carry_out(
        self, method: Callable[[], Awaitable[_T]], done: asyncio.Future[_T], scope: trio.CancelScope
    ) -> None:
        with scope:
            try:
                result = await method()
            except Exception as error:  # noqa: BLE001  the caller raises it
                self._tell(_settle, done, None, error)
            else:
                self._tell(_settle, done, result, None)
        if scope.cancelled_caught:
            self._tell(_settle, done, None, RuntimeError("the call was cancelled"))

    def _note_end(self, failure: BaseException | None) -> None:
        self._ended.set_result(failure)
        if failure is not None and self._is_inside and self._host is not None:
            self._host.cancel()

    def _tell(self, act: Callable[..., object], *arguments: Any) -> None:
        """Schedule a call in the event loop."""
        self._loop.call_soon_threadsafe(act, *arguments)


def _settle(done: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
