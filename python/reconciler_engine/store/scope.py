"""The one place of names: whose candles, from which exchange, in which of the feeder's layouts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from reconciler_engine.market.series import Series

MOST_SERIES: Final = 200_000
"""Fields of a hash that has one a series, and entries like it; where there are more, somebody else put them there."""


class Layout(StrEnum):
    """Names that a feeder gives to candle keys and channels.

    Attributes:
        USER: Keys of one user.
        EXCHANGE: Keys that all users of an exchange share.
        OVERFLOW: Keys of one user beside the shared ones, for the symbols that this user alone follows.
    """

    USER = "user"
    EXCHANGE = "exchange"
    OVERFLOW = "overflow"

    def candles(self, user_id: int, exchange_id: int) -> str:
        """Return the beginning of candle keys."""
        match self:
            case Layout.USER:
                return f"candles:{user_id}:{exchange_id}"
            case Layout.EXCHANGE:
                return f"candles:{exchange_id}"
            case Layout.OVERFLOW:
                return f"usercandles:{user_id}:{exchange_id}"

    def channel(self, user_id: int, exchange_id: int, subject: str) -> str:
        """Return the beginning of the channels of a subject; the overflow's users listen to those of their own."""
        if self is Layout.EXCHANGE:
            return f"channel:exchange:{exchange_id}:candle:{subject}"
        return f"channel:candle:{subject}:{user_id}:{exchange_id}"

    def owner(self, user_id: int, exchange_id: int) -> str:
        """Return the name of those that share candle keys, for the hash tag of the engine's own."""
        match self:
            case Layout.USER:
                return f"{user_id}:{exchange_id}"
            case Layout.EXCHANGE:
                return f"exchange:{exchange_id}"
            case Layout.OVERFLOW:
                return f"overflow:{user_id}:{exchange_id}"


@dataclass(frozen=True, slots=True)
class Scope:
    """The owner of a family of keys.

    Candle keys and channels have the feeder's names. The engine's own keys carry one hash tag, so that all of them
    live in one Cluster slot and one script may touch several; the tag names the exchange's host, so that an engine
    against a simulator never takes work from one against the real exchange. It names the user only where candle keys
    do: two engines of one candle key share their work.
    """

    user_id: int
    exchange_id: int
    source: str
    layout: Layout = Layout.USER

    @classmethod
    def of(cls, user_id: int, exchange_id: int, base_url: str, layout: Layout = Layout.USER) -> Scope:
        """Return the scope of the exchange at `base_url`."""
        return cls(user_id, exchange_id, urlsplit(base_url).netloc, layout)

    @property
    def candles(self) -> str:
        """The beginning of its candle keys."""
        return self.layout.candles(self.user_id, self.exchange_id)

    def candle_key(self, series: Series, layout: Layout | None = None) -> str:
        """Return the sorted set that holds a series, in another layout too: score = open time (ms), member = JSON."""
        start = self.candles if layout is None else layout.candles(self.user_id, self.exchange_id)
        return f"{start}:{series.symbol}:{series.timeframe.value}"

    def companion_key(self, series: Series, what: str) -> str:
        """Return a key of the engine's own beside a series' candles: in the same Cluster slot, for the same scripts.

        It names the exchange, as all of the engine's own keys do. Like all companions it begins with the brace of its
        tag, so that a pattern of candle keys, such as the feeder deletes by, never matches it.
        """
        return f"{{{self.candle_key(series)}}}:{what}:{self.source}"

    def evidence_key(self, series: Series) -> str:
        """Return the hash of a series' evidence; its tag is the candle key, so both live in one Cluster slot.

        Like the candles it belongs to, it names no exchange: readers derive it from the candle key alone.
        """
        return f"{{{self.candle_key(series)}}}:evidence"

    def journal_key(self, series: Series) -> str:
        """Return the stream of changes in a series' candles and evidence; like them it names no host of an exchange."""
        return f"{{{self.candle_key(series)}}}:journal"

    def feed_key(self, series: Series) -> str:
        """Return the stream of changes for other programs, beside a series' candles."""
        return f"{{{self.candle_key(series)}}}:changes"

    def index_key(self) -> str:
        """Return the sorted set of series that were written, in the order of their last writes."""
        return self.key("changed")

    def write_keys(self, series: Series) -> tuple[str, str, str, str]:
        """Return the keys that a write of a series touches, all in one Cluster slot."""
        return self.candle_key(series), self.evidence_key(series), self.journal_key(series), self.feed_key(series)

    def repaired_channel(self, series: Series) -> str:
        """Return the channel on which repaired ranges of a series are announced."""
        return self._channel(series, "repaired")

    def close_channel(self, series: Series) -> str:
        """Return the feeder's channel of closed bars, on which its indicators wait."""
        return self._channel(series, "close")

    def _channel(self, series: Series, subject: str) -> str:
        start = self.layout.channel(self.user_id, self.exchange_id, subject)
        return f"{start}:{series.symbol}:{series.timeframe.value}"

    def fence_key(self, job: str) -> str:
        """Return the hash that says under which epoch a job is directed, and which run of it is open."""
        return self.key(f"fence:{job}")

    def key(self, name: str) -> str:
        """Return one of the engine's own keys."""
        return f"recon:{{{self.layout.owner(self.user_id, self.exchange_id)}:{self.source}}}:{name}"

    def shared_key(self, name: str) -> str:
        """Return a key that all scopes of one exchange share, such as a request budget; its tag is the host alone."""
        return f"recon:{{{self.source}}}:{name}"
