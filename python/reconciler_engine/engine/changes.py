"""The feed of changes: what engines changed in a cache since a reader last asked."""

from __future__ import annotations

from typing import Final, overload

from reconciler_engine.coinbase.base_url import COINBASE
from reconciler_engine.store.drivers.choice import PendingAnswer, ask
from reconciler_engine.store.drivers.redis_py_clients import AwaitedRedis, SyncRedis
from reconciler_engine.store.feed_steps import ChangeBatch, Cursor, read_changes
from reconciler_engine.store.scope import Layout, Scope

MOST_WAIT_S: Final = 3_600


@overload
def changes(
    redis: AwaitedRedis,
    cursor: str | None = None,
    *,
    limit: int = 1_000,
    wait_s: float = 0.0,
    base_url: str = COINBASE,
    user_id: int = 1,
    exchange_id: int = 1,
    layout: str = "user",
) -> PendingAnswer[ChangeBatch]: ...


@overload
def changes(
    redis: SyncRedis,
    cursor: str | None = None,
    *,
    limit: int = 1_000,
    wait_s: float = 0.0,
    base_url: str = COINBASE,
    user_id: int = 1,
    exchange_id: int = 1,
    layout: str = "user",
) -> ChangeBatch: ...


def changes(
    redis: AwaitedRedis | SyncRedis,
    cursor: str | None = None,
    *,
    limit: int = 1_000,
    wait_s: float = 0.0,
    base_url: str = COINBASE,
    user_id: int = 1,
    exchange_id: int = 1,
    layout: str = "user",
) -> PendingAnswer[ChangeBatch] | ChangeBatch:
    """Return the engines' changes in all series after a cursor, and the cursor to go on from.

    Redis keeps the newest thousand writes of each series for 30 days; a reader gets them in the order of each series.
    Where writes have been dropped unread, a change of the kind `lost` comes first: read the cache of that series again.
    Store the cursor after handling the changes; a reader that dies before that gets the same changes again. If a
    writer dies between its write and the entry in the feed, that change comes up to a minute late.

    The feed has the engines' own writes: candles added, changed and removed, verified slots, and proofs given and
    retracted. It leaves out the feeder's candles, and candles dropped by the feeder's cap or a key's expiry.

    Args:
        redis: The client, as for `is_ready`.
        cursor: Cursor of an earlier answer, an opaque text; None for all changes that are kept.
        limit: Most writes of one series in an answer, at least 1. Once an answer has so many changes, further series
            are left for the next call.
        wait_s: Longest wait for a first change (s), an hour at most.
        base_url: As the engine's setting; engines on another exchange have another feed.
        user_id: As the engine's setting.
        exchange_id: As the engine's setting.
        layout: As the engine's setting.

    Raises:
        ValueError: An argument is not allowed.
        StoreError: Redis did not answer; a redis-py client raises redis-py's own exceptions.
    """
    if layout not in [*Layout]:
        raise ValueError(f"layout {layout!r} is not allowed; allowed: {', '.join(Layout)}")
    if limit < 1:
        raise ValueError(f"limit {limit!r} is not allowed; allowed: a whole number from 1")
    if not 0 <= wait_s <= MOST_WAIT_S:
        raise ValueError(f"wait_s {wait_s!r} is not allowed; allowed: seconds from 0 to {MOST_WAIT_S}")
    scope = Scope.of(user_id, exchange_id, base_url, Layout(layout))
    owner = scope.index_key()
    begin = Cursor(owner) if cursor is None else Cursor.read(cursor, owner)
    return ask(redis, "changes", lambda: read_changes(scope, begin, limit, wait_s))
