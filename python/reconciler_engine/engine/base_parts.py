"""The stores and settings that all work of an engine in one scope uses, over one Redis client."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler_engine.coinbase.identity import Identity
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.store.candle_keys import CandleKeys
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.coverage import Coverage
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.outages import Outages
from reconciler_engine.store.pass_records import PassRecords
from reconciler_engine.store.product_list import ProductListStore
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.tasks import TaskQueue


@dataclass(frozen=True)
class BaseParts:
    """Stores and settings of one scope.

    `share` is the part of the budget of `bucket` that verification may take. `identity` names the key that signs
    requests; None where they are unsigned. The caller closes the client.
    """

    client: TrioRedis
    scope: Scope
    store: CandleStore
    evidence: EvidenceStore
    products: ProductListStore
    queue: TaskQueue
    clock: SharedClock
    coverage: Coverage
    bucket: TokenBucket
    share: TokenBucket
    config: ReconciliationConfig
    retention: Retention
    identity: Identity | None = None

    @property
    def keys(self) -> CandleKeys:
        """Access to all candle keys of the scope."""
        return CandleKeys(self.client, self.scope)

    @property
    def outages(self) -> Outages:
        """Search for intervals in which no series has candles."""
        return Outages(self.client, self.scope)

    @property
    def records(self) -> PassRecords:
        """The records of passes."""
        return PassRecords(self.client, self.scope)
