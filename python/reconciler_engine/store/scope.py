"""Whose candles, from which exchange: the name that separates one engine's keys from another's."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler_engine.market.series import Series


@dataclass(frozen=True, slots=True)
class Scope:
    """The owner of a family of keys.

    Candle keys and channels have the feeder's fixed layout. The engine's own keys carry one hash tag, so that all
    of them live in one Cluster slot and one script may touch several; the tag names the exchange's host, so that an
    engine against a simulator never takes work from one against the real exchange.
    """

    user_id: int
    exchange_id: int
    source: str

    @classmethod
    def of(cls, user_id: int, exchange_id: int, base_url: str) -> Scope:
        """Return the scope of the exchange at `base_url`."""
        return cls(user_id, exchange_id, urlsplit(base_url).netloc)

    def candle_key(self, series: Series) -> str:
        """Return the sorted set that holds a series: score = open time (ms), member = JSON."""
        return f"candles:{self.user_id}:{self.exchange_id}:{series.symbol}:{series.timeframe.value}"

    def companion_key(self, series: Series, what: str) -> str:
        """Return a key of the engine's own beside a series' candles: in the same Cluster slot, for the same scripts.

        It names the exchange, as all of the engine's own keys do.
        """
        return f"{{{self.candle_key(series)}}}:{what}:{self.source}"

    def evidence_key(self, series: Series) -> str:
        """Return the hash of a series' evidence; its tag is the candle key, so both live in one Cluster slot.

        Like the candles it belongs to, it names no exchange: readers derive it from the candle key alone.
        """
        return f"{{{self.candle_key(series)}}}:evidence"

    def journal_key(self, series: Series) -> str:
        """Return the stream of what was changed in a series' candles and evidence; like them it names no exchange."""
        return f"{{{self.candle_key(series)}}}:journal"

    def repaired_channel(self, series: Series) -> str:
        """Return the channel on which repaired ranges of a series are announced."""
        return f"channel:candle:repaired:{self.user_id}:{self.exchange_id}:{series.symbol}:{series.timeframe.value}"

    def fence_key(self, job: str) -> str:
        """Return the hash that says under which epoch a job is directed, and which run of it is open."""
        return self.key(f"fence:{job}")

    def key(self, name: str) -> str:
        """Return one of the engine's own keys."""
        return f"recon:{{{self.user_id}:{self.exchange_id}:{self.source}}}:{name}"
