"""The engine inside a host's own trio program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import trio

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.config import DEFAULT_RECONCILIATION_CONFIG, ReconciliationConfig
from reconciler_engine.engine.parts import Parts, make_parts
from reconciler_engine.engine.roles.worker import WorkerRole
from reconciler_engine.engine.scheduled_passes import FULL_RECONCILE, GAP_SCAN, VERIFY, ScheduledPasses
from reconciler_engine.engine.service_schedule import SERVICE, ServiceSchedule
from reconciler_engine.engine.symbols import choose_symbols
from reconciler_engine.engine.tasks.consumer_name import consumer_name
from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.scheduling.scheduler import wall_clock
from reconciler_engine.store.client.server_check import check_server
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.protocol import at_work
from reconciler_engine.store.status_board import EngineFacts

DRAIN_S = 20.0
"""Longest wait for started pages when the block is left."""


class ReconciliationService:
    """Keeps a cache complete from within a trio program: the engine of the command `start`, as tasks of this process.

    ```python
    import trio
    from reconciler_engine import ReconciliationConfig, ReconciliationService


    async def main() -> None:
        config = ReconciliationConfig(batch_size=5, batch_delay_ms=1_000)
        async with ReconciliationService(None, None, "redis://localhost:6379/0", config) as service:
            await service.start(["BTC-USD", "ETH-USD"], ["1m", "5m"])  # one full pass at once, then the schedule
            result = await service.perform_gap_scan()
            print(f"{result.filled} of {result.missing} missing candles filled, {result.unresolved} left")
            await service.stop()


    trio.run(main)
    ```

    Lifecycle. Entering the block checks Redis and starts a worker. `start` starts the schedule, with one full
    reconciliation at once; `stop` ends the schedule. Leaving the block also ends the schedule, lets the worker store
    the pages that it has begun (20 s at most), and closes its connections. All tasks end with the block.
    A service can be entered once. `start` may follow `stop`, with other series. Without `start`, passes on demand
    examine the configuration's series.

    Ownership. A client that the service made from a URL is closed at the end; a `TrioRedis` that was handed in stays
    open. The private key is kept in this object only: it is not logged, shown or written to Redis. The budget, the
    task streams and the jobs' leases are in Redis, shared by all engines of the same scope (user, exchange, host of
    `base_url`). Together they stay within one budget and run one pass of a job at a time.

    Cancellation. After any cancellation the cache holds either the state before a merge or the state after it. A
    cancelled `perform_...` ends its pass: the open tasks are discarded, merged candles stay. When the block itself is
    cancelled, the worker's started pages are dropped; the next pass asks for them again.

    Errors. Errors of the exchange, or of one series, are in the pass's result. A failed scheduled pass is logged and
    counted; the next tick tries again. While Redis is unreachable, the service waits for it. An error in the block's
    body is raised as itself, not in a group. An exception group means that a task of the service failed, for example
    because Redis denied a command.

    The settings `workers`, `data_dir` and `redis_url` belong to the command `start` and are ignored here: one worker
    runs as a task of this process, with up to sixteen pages in flight, and Redis is an argument of the constructor.
    """

    def __init__(
        self,
        api_key_id: str | None,
        private_key_pem: str | None,
        redis: str | TrioRedis,
        config: ReconciliationConfig = DEFAULT_RECONCILIATION_CONFIG,
    ) -> None:
        """Check the settings; nothing is opened before the block is entered.

        Args:
            api_key_id: Name or id of the exchange's API key; None asks the public endpoint.
            private_key_pem: The key's private half, in any form `Credentials` reads; None if and only if `api_key_id`
                is None.
            redis: URL of the cache's server, or a client of it, which the caller keeps open as long as the block.
            config: The settings; `symbols` and `timeframes` are the defaults of `start`.

        Raises:
            ConfigError: A setting is wrong. The error names every fault, without the key or a password.
        """
        faults: list[str] = []
        source = _source(config, api_key_id, private_key_pem, faults)
        client = _client(redis, faults)
        if source is None or client is None or faults:
            raise ConfigError(faults)
        self._config = config
        self._source = source
        self._redis = client
        self._owns_redis = isinstance(redis, str)
        self._block: AbstractAsyncContextManager[None] | None = None
        self._engine: _Engine | None = None
        self._schedule: ServiceSchedule | None = None

    def __repr__(self) -> str:
        return f"<ReconciliationService {self._redis.address}>"

    async def __aenter__(self) -> Self:
        """Open the engine.

        Raises:
            ConfigError: Redis does not accept the credentials, or is too old.
            OtherProtocol: An engine of another protocol works on the same candles.
            SourceUnavailable: The configuration's symbols are to be chosen, and the exchange does not list them.
            StoreUnavailable: Redis does not answer.
            RuntimeError: The service was entered before.
        """
        if self._block is not None:
            raise RuntimeError("a ReconciliationService is entered once; make another one")
        self._block = self._open()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._block is None:
            raise RuntimeError("the ReconciliationService was not entered")
        return await self._block.__aexit__(kind, error, trace)

    async def start(self, symbols: Sequence[str] | None = None, timeframes: Sequence[str] | None = None) -> None:
        """Start the schedule over every pair of `symbols` and `timeframes`; return once it runs.

        One full reconciliation begins at once, in the background. An argument of None stands for the configuration's.

        Raises:
            ConfigError: A symbol or timeframe is not allowed, the list of either is empty, or the windows do not fit
                the cache's retention. The error names every fault.
            SourceUnavailable: Symbols are to be chosen, such as `all:USD`, and the exchange does not list them.
            RuntimeError: The block is not open, or the schedule runs already.
        """
        engine = self._open_engine()
        if self._schedule is not None and not self._schedule.is_over:
            raise RuntimeError("the ReconciliationService is started already; stop() it first")
        given = {"symbols": symbols, "timeframes": timeframes}
        settings = {**self._config.model_dump(), **{name: value for name, value in given.items() if value is not None}}
        config = ReconciliationConfig.check(settings, needs_symbols=True)
        engine.passes.watch(await self._series(config, engine.parts))
        self._schedule = ServiceSchedule(engine.passes)
        await engine.nursery.start(self._schedule.run)

    async def stop(self) -> None:
        """End the schedule and the scheduled pass under way, if any; harmless where nothing was started.

        Merged candles stay. Answers of the exchange that are still on their way are dropped; a later pass asks again.
        Passes on demand go on.
        """
        if self._schedule is not None:
            await self._schedule.stop()
        await trio.lowlevel.checkpoint()

    async def perform_gap_scan(self) -> ReconciliationResult:
        """Fill missing slots of the last `quick_scan_window_ms`; see `perform_full_reconciliation`."""
        return await self._perform(GAP_SCAN)

    async def perform_full_reconciliation(self) -> ReconciliationResult:
        """Fill missing slots of the last `full_reconcile_window_ms`, and return the result.

        If a pass of the same kind is open, here or in another engine of the scope, this call waits for its end and then
        runs its own. Ticks of the schedule during the pass are skipped, not queued.

        Raises:
            ConfigError: No series is named by the configuration or by `start`.
            RuntimeError: The block is not open.
            StoreError: Redis cannot be reached, or the pass's record was lost.
        """
        return await self._perform(FULL_RECONCILE)

    async def perform_verification(self) -> ReconciliationResult:
        """Ask for the candles whose verification is due; see `perform_full_reconciliation`.

        Like the scheduled run of each minute, it waits for its share of the budget, 50 s at most. The result has a row
        for each examined series: all series in the first run and once per gap scan, otherwise only the due ones.
        """
        return await self._perform(VERIFY)

    async def _series(self, config: ReconciliationConfig, parts: Parts) -> list[Series]:
        """Return the series of a configuration; ask the exchange only if it has symbol selectors."""
        if config.choices:
            config = config.with_symbols(await choose_symbols(config.symbols, parts, self._source))
        return config.series()

    async def _perform(self, job: str) -> ReconciliationResult:
        passes = self._open_engine().passes
        if not passes.series:
            raise ConfigError(["symbols is empty: allowed: one product id or more, in the configuration or by start()"])
        return await passes.perform(job)

    def _open_engine(self) -> _Engine:
        if self._engine is None:
            raise RuntimeError("the ReconciliationService is not open; use it inside `async with`")
        return self._engine

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        failure: Exception | None = None
        async with AsyncExitStack() as stack:
            if self._owns_redis:
                await stack.enter_async_context(self._redis)
            await check_server(self._redis)
            await stack.enter_async_context(self._source)
            parts = make_parts(
                self._config, self._redis, owns_server=False, consumer=consumer_name(), identity=self._source.identity
            )
            facts = EngineFacts(SERVICE)
            await stack.enter_async_context(at_work(parts.client, parts.scope, parts.queue.consumer, facts))
            await parts.bucket.forgive()
            await parts.clock.doubt()
            passes = ScheduledPasses(parts, await self._series(self._config, parts), now=wall_clock)
            worker = WorkerRole(parts, self._source)
            async with trio.open_nursery() as nursery:
                drained = await nursery.start(_work, worker)
                nursery.start_soon(passes.keep_leases)
                self._engine = _Engine(parts, passes, nursery)
                try:
                    yield
                except Exception as error:  # noqa: BLE001  raised again below, as itself and not in a group
                    failure = error
                finally:
                    self._engine = None
                if self._schedule is not None:
                    self._schedule.begin_no_more()
                worker.drain()
                with trio.move_on_after(DRAIN_S):
                    await drained.wait()
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


@dataclass(frozen=True, slots=True)
class _Engine:
    """Resources that exist while the block is open."""

    parts: Parts
    passes: ScheduledPasses
    nursery: trio.Nursery


async def _work(worker: WorkerRole, *, task_status: trio.TaskStatus[trio.Event]) -> None:
    """Run a worker; pass an event to `task_status` that is set when the worker has ended."""
    ended = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        task_status.started(ended)
    ended.set()


def _source(
    config: ReconciliationConfig, api_key_id: str | None, private_key_pem: str | None, faults: list[str]
) -> CoinbaseClient | None:
    """Make the exchange's client; on an error, add it to `faults` and return None."""
    if (api_key_id is None) != (private_key_pem is None):
        faults.append("api_key_id and private_key_pem go together; allowed: both, or None for both")
        return None
    try:
        credentials = None
        if api_key_id is not None and private_key_pem is not None:
            # Cryptography is loaded only for a key.
            from reconciler_engine.coinbase.auth import Credentials  # noqa: PLC0415

            credentials = Credentials(api_key_id, private_key_pem)
        return CoinbaseClient(config.base_url, credentials=credentials, route=config.route, connections=PAGES_IN_FLIGHT)
    except ConfigError as error:
        faults.extend(error.faults)
    except ValueError as error:
        faults.append(str(error))
    return None


def _client(redis: str | TrioRedis, faults: list[str]) -> TrioRedis | None:
    """Return the Redis client; on an error, add it to `faults` and return None."""
    if isinstance(redis, TrioRedis):
        return redis
    try:
        return TrioRedis.from_url(redis)
    except ValueError as error:
        faults.append(f"redis: {error}")
    return None
