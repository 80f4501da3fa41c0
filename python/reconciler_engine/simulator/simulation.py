"""Builds and runs a simulator from its settings, for the command line and for tests with processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from reconciler_engine.market.interval import Interval
from reconciler_engine.observe.words import printable
from reconciler_engine.simulator.faults.file import FaultFile
from reconciler_engine.simulator.faults.rules import Faults
from reconciler_engine.simulator.prices.listed_products import ListedProduct, list_products
from reconciler_engine.simulator.prices.market import Market
from reconciler_engine.simulator.prices.replay import ReplayMarket
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules, Verifier
from reconciler_engine.simulator.rules.request_log import RequestLog, open_request_log
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock, check_rate


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Settings of a simulator.

    Attributes:
        port: Port to listen at, on 127.0.0.1; 0 lets the system choose.
        seed: Seed of prices and trades.
        products: Products that trade; by default those of `list_products` at the clock's start.
        halts: Spans (ms UTC) without trades; seeded markets only.
        replay: Folder of candle files to serve instead of seeded prices.
        log: File to append one line of JSON to for each request.
        start: Instant (ms UTC) that the clock shows at `origin`. By default the machine's time, or, with `replay`, the
            end of the last bar in the files.
        rate: Simulated time per real time. By default 1, or 0 for a replay without `start`.
        origin: Real instant (ms UTC) at which the clock shows `start`, for processes that must agree on the time; by
            default now.
        rules: How the exchange behaves without faults.
        key_files: Key files of the clients that may use private paths; without any, private paths answer 401.
        faults: Faults file (JSON if its name ends in `.json`, else TOML), read again when it changes; `control` sets
            faults over HTTP.

    Raises:
        ValueError: `rate` is negative or not a finite number.
    """

    port: int = 0
    seed: int = 1
    products: tuple[ListedProduct, ...] | None = None
    halts: tuple[Interval, ...] = ()
    replay: Path | None = None
    log: Path | None = None
    start: int | None = None
    rate: float | None = None
    origin: float | None = None
    rules: ExchangeRules = field(default_factory=ExchangeRules)
    key_files: tuple[Path, ...] = ()
    faults: Path | None = None

    def __post_init__(self) -> None:
        if self.rate is not None:
            check_rate("clock rate", self.rate)


def _write_error(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)  # noqa: T201 - the simulator's own terminal


def build_exchange(settings: SimulatorSettings, log: RequestLog | None = None) -> Exchange:
    """Return the exchange that the settings describe; reads the files of a replay (about 0.3 s per 100,000 rows).

    Args:
        settings: Settings of the simulator.
        log: Log of the requests; by default in memory only.

    Raises:
        ConfigError: The replay folder has no candle file, or a key or faults file is unusable.
        CandleFileError: A file in the replay folder is unusable.
        ValueError: A rate, a burst or the product list is not allowed.
    """
    market, clock = build_market(settings)
    verifier = _build_verifier(settings.key_files)
    exchange = Exchange(market, clock, settings.rules, log=log, verifier=verifier, faults=Faults(seed=settings.seed))
    if settings.faults is not None:
        exchange.refresh_faults = FaultFile(settings.faults, exchange.faults, _write_error).refresh
    return exchange


def build_market(settings: SimulatorSettings) -> tuple[Market, SimulatedClock]:
    """Return the market and the clock; the same settings give the same market in every process.

    Raises: as `build_exchange`.
    """
    if settings.replay is not None:
        replay = ReplayMarket.read(settings.replay)
        standing = settings.start is None
        rate = (0.0 if standing else 1.0) if settings.rate is None else settings.rate
        start = replay.end if settings.start is None else settings.start
        return replay, SimulatedClock(start, rate=rate, origin=settings.origin)
    rate = 1.0 if settings.rate is None else settings.rate
    clock = SimulatedClock(settings.start, rate=rate, origin=settings.origin)
    first = clock.now() if settings.start is None else settings.start
    products = list_products(first) if settings.products is None else settings.products
    return SeededMarket(settings.seed, products, settings.halts), clock


def _build_verifier(key_files: tuple[Path, ...]) -> Verifier | None:
    if not key_files:
        return None
    # Imported only when needed: few simulations check signatures, and the library is slow to load.
    from reconciler_engine.simulator.rules.tokens import TokenVerifier, read_trusted_key  # noqa: PLC0415 - see above

    return TokenVerifier(map(read_trusted_key, key_files))


async def simulate(settings: SimulatorSettings, announce: Callable[[str], None] = print) -> None:
    """Run a simulator until cancelled; announces `listening on http://127.0.0.1:PORT` when its port is open.

    Mistakes in a changed faults file are written to standard error.

    Raises:
        ConfigError: The port or the log file cannot be opened, or as in `build_exchange`.
        CandleFileError: As `build_exchange`.
    """
    with open_request_log(settings.log) as log:
        async with open_exchange(build_exchange(settings, log), port=settings.port) as url:
            announce(f"listening on {url}")
            await trio.sleep_forever()
