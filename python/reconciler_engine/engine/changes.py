"""The feed of changes: changes of a cache by engines since a reader last asked."""

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

    A reader that was away gets all that is still kept, in order for each series: the newest thousand writes of each,
    for 30 days. Where some fell out, a change of the kind `lost` comes before the next one: read that series anew. Keep
    the cursor once the changes are dealt with; a reader that dies before gets them again. A writer that dies between
    its write and the word of it delays that change by a minute at most.

    Told are the engines' own writes: candles added, changed and removed, verified slots, and proofs given and
    retracted. The feeder's candles are not, nor those that its cap or a key's life drops.

    Args:
        redis: As that of `is_ready`.
        cursor: That of an answer before; None for all that is kept. An opaque text.
        limit: Most writes of a series that come at once, at least 1; no further series are read past so many changes.
        wait_s: How long to wait for the first change where there is none (s), an hour at most.
        base_url: As the engine's setting.
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
