"""The series that a command about all series covers."""

from __future__ import annotations

from reconciler_engine.cli.options import Given
from reconciler_engine.cli.session import Session
from reconciler_engine.coinbase.base_url import COINBASE
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.series import Series
from reconciler_engine.store.coverage import Coverage
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import scope_of


async def known_series(session: Session, given: Given, *, may_lack: bool = False) -> list[Series]:
    """Return the configured series or, if no symbols are set, those that passes of all engines have looked at.

    They are sorted by symbol, then by timeframe.

    Raises:
        ConfigError: No series was found, which an answer would show as if all were well; not raised with `may_lack`.
    """
    parts = session.parts
    if parts.config.symbols:
        return sorted(await session.series(), key=natural_order)
    names = {name for scope in await known_scopes(session) for name in await Coverage(parts.client, scope).read()}
    found = [series for name in names if (series := Series.named(name)) is not None]
    if "timeframes" in given.flags:
        found = [series for series in found if series.timeframe.value in parts.config.timeframes]
    if not (found or may_lack):
        raise ConfigError([_NO_SERIES])
    return sorted(found, key=natural_order)


_NO_SERIES = "symbols is empty, and no pass has looked at a series; allowed: --symbols, or a running engine"


async def known_scopes(session: Session) -> set[Scope]:
    """Return the scope of the settings, and the scopes of running engines that keep the same candles."""
    return {session.parts.scope, *await _running_scopes(session)}


async def feed_scope(session: Session) -> Scope:
    """Return the scope of the settings or, if they leave the exchange open, of the engines that run here.

    Raises:
        ConfigError: Engines of several exchanges run, and the settings name none of these.
    """
    parts, running = session.parts, await _running_scopes(session)
    if parts.scope in running or not running or parts.config.base_url != COINBASE:
        return parts.scope
    if len(running) > 1:
        sources = ", ".join(sorted(scope.source for scope in running))
        raise ConfigError([f"base_url {COINBASE}: no engine here has it; allowed: the URL of {sources}"])
    return running.pop()


async def _running_scopes(session: Session) -> set[Scope]:
    return {scope_of(engine) for engine in await session.running_engines()}


def natural_order(series: Series) -> tuple[str, int]:
    """Return the sort key of a series: its symbol, then the length of its bars."""
    return series.symbol, series.timeframe.step_ms
