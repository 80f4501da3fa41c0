"""The parts from which an engine is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.supervisor.child_list import ChildList
from reconciler_engine.supervisor.report_source import ReportSource
from reconciler_engine.supervisor.running_child import SpecMaker

if TYPE_CHECKING:
    # Cryptography is loaded where there is a key.
    from reconciler_engine.coinbase.auth import Credentials
    from reconciler_engine.coinbase.identity import Identity


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Parts of an engine.

    Attributes:
        config: The checked settings.
        redis_url: URL of the cache.
        owns_server: Whether the cache is the embedded server.
        maker: Maker of the children's specs.
        children: List of the children; already contains the children that were started before the workers.
        command: Name of the command that runs the engine, for display.
        reports: Source of the web child's reports.
        unknown: Configured symbols that were not products of the exchange at the start.
        credentials: API key with which workers sign, or None; sent only to workers, through their pipes.
    """

    config: ReconciliationConfig
    redis_url: str = field(repr=False)
    owns_server: bool
    maker: SpecMaker
    children: ChildList
    command: str
    reports: ReportSource
    unknown: tuple[str, ...] = ()
    credentials: Credentials | None = None

    @property
    def identity(self) -> Identity | None:
        """Identity of the key that signs candle requests; None if they are unsigned."""
        return None if self.credentials is None else self.credentials.identity
