"""Builds the engine's parts over one Redis client: the parts of a worker, a pass and a backfill."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from reconciler_engine.coinbase.identity import Identity
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.backfill.director import BackfillDirector
from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.passes.older_bars import OlderBars
from reconciler_engine.engine.passes.reach import Reach
from reconciler_engine.engine.passes.reconciler import Reconciler
from reconciler_engine.engine.passes.scrub import Scrub, ScrubMemory
from reconciler_engine.engine.passes.second_looks import SecondLooks
from reconciler_engine.engine.passes.sum_proofs import SumProofs
from reconciler_engine.engine.passes.survey import Surveyor
from reconciler_engine.engine.tasks.consumer_name import consumer_name, node_of
from reconciler_engine.engine.tasks.page_fetch import PageFetcher
from reconciler_engine.engine.tasks.redis_retry import RedisRetry
from reconciler_engine.engine.tasks.worker import Worker
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.bucket_script import bucket_script
from reconciler_engine.store.budget_use import BudgetUse
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.coverage import Coverage
from reconciler_engine.store.disagreements import Disagreements
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.marks import Cursor
from reconciler_engine.store.product_list import ProductListStore
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Layout, Scope
from reconciler_engine.store.tasks import TaskQueue

if TYPE_CHECKING:
    # HTTP is loaded where the exchange is asked.
    from reconciler_engine.coinbase.client import CoinbaseClient


class Parts(BaseParts):
    """The stores of one scope, and the workers and directors that use them."""

    @cached_property
    def reconciler(self) -> Reconciler:
        """A director of passes."""
        return Reconciler(self, self.second_looks)

    @property
    def reach(self) -> Reach:
        """Finder of how far back the candles are complete."""
        return Reach(self)

    @property
    def second_looks(self) -> SecondLooks:
        """Proofs of candles by sums of finer ones, and second requests for candles that differ from the exchange's."""
        timeframes = [Timeframe(name) for name in self.config.timeframes]
        sums = SumProofs(self.store, self.evidence, timeframes, self.retention)
        return SecondLooks(sums, Disagreements(self.client, self.scope))

    @property
    def older_bars(self) -> OlderBars:
        """Walk over the bars that are too old for each verify run to examine."""
        return OlderBars(self.keys, self.evidence, Cursor(self.client, self.scope, "verify"))

    def scrub(self, memory: ScrubMemory) -> Scrub:
        """Make a search for the candles that were compared longest ago."""
        cursor = Cursor(self.client, self.scope, "scrub")
        return Scrub(self.keys, self.evidence, cursor, self.config.scrub_days, memory)

    @cached_property
    def surveyor(self) -> Surveyor:
        """A surveyor of series."""
        return Surveyor(self)

    @cached_property
    def history(self) -> BackfillDirector:
        """A director of backfills of long ranges."""
        return BackfillDirector(self)

    def worker(self, source: CoinbaseClient | None) -> Worker:
        """Make a worker; without `source` it takes scan tasks only."""
        redis = RedisRetry()
        fetcher = None if source is None else PageFetcher(self, source, redis)
        return Worker(self.queue, self.store, self.evidence, fetcher, redis)


@asynccontextmanager
async def open_parts(
    config: ReconciliationConfig,
    redis_url: str,
    *,
    owns_server: bool,
    identity: Identity | None = None,
    consumer: str | None = None,
) -> AsyncIterator[Parts]:
    """Build the parts over a client of `redis_url`, closed at the end; connects on first use.

    Args:
        config: The settings.
        redis_url: Where the cache is.
        owns_server: Whether the server is the embedded one, whose keys the engine itself caps.
        identity: Identity whose key signs requests; None where they are unsigned.
        consumer: Unique name of the worker that takes tasks; None for a new name.
    """
    consumer = consumer or consumer_name()
    async with TrioRedis.from_url(redis_url) as client:
        yield make_parts(config, client, owns_server=owns_server, consumer=consumer, identity=identity)


def make_parts(
    config: ReconciliationConfig,
    client: TrioRedis,
    *,
    owns_server: bool,
    consumer: str,
    identity: Identity | None = None,
) -> Parts:
    """Build the parts over a client that the caller closes; `consumer` is the unique name of a taker of tasks."""
    scope = scope_of(config)
    return Parts(
        client=client,
        scope=scope,
        store=CandleStore(client, scope),
        evidence=EvidenceStore(client, scope),
        products=ProductListStore(client, scope),
        queue=TaskQueue(client, scope, consumer),
        clock=SharedClock(client, scope),
        coverage=Coverage(client, scope),
        bucket=_make_bucket(config, client, scope, identity, node_of(consumer)),
        share=_make_share(config, client, scope, identity),
        config=config,
        retention=Retention(config.max_candles, config.life_s, trim=owns_server),
        identity=identity,
    )


def scope_of(config: ReconciliationConfig) -> Scope:
    """Return the scope that the settings name."""
    return Scope.of(config.user_id, config.exchange_id, config.base_url, Layout(config.layout))


def _make_bucket(
    config: ReconciliationConfig, client: TrioRedis, scope: Scope, identity: Identity | None, node: str
) -> TokenBucket:
    """Build the bucket of the request budget, which all engines share that the exchange counts as one client."""
    name = budget_name(config, identity)
    breaker = f"{name}:breaker" if identity is None else f"breaker:{identity.key}"
    # Earlier versions kept one bucket per scope and had one layout; its state is taken over.
    before = replace(scope, layout=Layout.USER)
    return TokenBucket(
        bucket_script(client, {scope.shared_key(one): before.key(one) for one in (name, breaker)}),
        scope.shared_key(name),
        config.budget(signed=identity is not None),
        breaker=None if identity is None else scope.shared_key(breaker),
        count=BudgetUse(client, scope, budget=name, node=node).count,
    )


def _make_share(
    config: ReconciliationConfig, client: TrioRedis, scope: Scope, identity: Identity | None
) -> TokenBucket:
    """Build the bucket of the part of the budget that verification may take."""
    budget = config.budget(signed=identity is not None).share(config.verify_share)
    key = scope.shared_key(f"{budget_name(config, identity)}:verify")
    return TokenBucket(bucket_script(client), key, budget, is_measured=False)


def budget_name(config: ReconciliationConfig, identity: Identity | None) -> str:
    """Return the name of the budget of requests: that of the signing key, else that of the outgoing address."""
    if identity is not None:
        return f"budget:{identity.name}"
    return "budget:public" if config.egress is None else f"budget:egress:{config.egress}"
