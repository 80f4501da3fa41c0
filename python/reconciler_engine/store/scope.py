"""Names of all keys and channels, derived from user, exchange and the feeder's layout. No other module builds them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from reconciler_engine.market.series import Series

MOST_SERIES: Final = 200_000
"""Most fields of a hash with one per series, or of a similar key; if it has more, another program wrote them."""


class Layout(StrEnum):
    """Naming scheme of a feeder for candle keys and channels.

    Attributes:
        USER: Keys of one user.
        EXCHANGE: Keys that all users of an exchange share.
        OVERFLOW: Keys of one user in addition to the shared ones, for symbols that only this user follows.
    """

    USER = "user"
    EXCHANGE = "exchange"
    OVERFLOW = "overflow"

    def candles(self, user_id: int, exchange_id: int) -> str:
        """Return the prefix of candle keys."""
        match self:
            case Layout.USER:
                return f"candles:{user_id}:{exchange_id}"
            case Layout.EXCHANGE:
                return f"candles:{exchange_id}"
            case Layout.OVERFLOW:
                return f"usercandles:{user_id}:{exchange_id}"

    def channel(self, user_id: int, exchange_id: int, subject: str) -> str:
        """Return the prefix of a subject's channels; the overflow layout has the user's channels."""
        if self is Layout.EXCHANGE:
            return f"channel:exchange:{exchange_id}:candle:{subject}"
        return f"channel:candle:{subject}:{user_id}:{exchange_id}"

    def owner(self, user_id: int, exchange_id: int) -> str:
        """Return the owner's name in the hash tag of the engine's own keys; scopes that share candle keys share it."""
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

    Candle keys and channels have the feeder's names. The engine's own keys have one hash tag, so that all are in one
    Cluster slot and one script may use several. The tag contains the exchange's host, so that an engine on a simulator
    never takes work from an engine on the real exchange. It contains the user only if candle keys do: engines that
    share candle keys share their work.
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
        """Prefix of the scope's candle keys."""
        return self.layout.candles(self.user_id, self.exchange_id)

    def candle_key(self, series: Series, layout: Layout | None = None) -> str:
        """Return the key of a series' candles, a sorted set: score = open time (ms), member = JSON.

        `layout` takes the place of the scope's own layout.
        """
        start = self.candles if layout is None else layout.candles(self.user_id, self.exchange_id)
        return f"{start}:{series.symbol}:{series.timeframe.value}"

    def companion_key(self, series: Series, what: str) -> str:
        """Return a key of the engine's own in the Cluster slot of a series' candles, so that one script may use both.

        It contains the exchange's host, as all of the engine's own keys do. It begins with a brace, so that a feeder
        that deletes candle keys by a pattern never deletes it.
        """
        return f"{{{self.candle_key(series)}}}:{what}:{self.source}"

    def evidence_key(self, series: Series) -> str:
        """Return the key of a series' evidence, a hash in the Cluster slot of the candle key.

        It does not contain the exchange's host, so that readers can derive it from the candle key alone.
        """
        return f"{{{self.candle_key(series)}}}:evidence"

    def journal_key(self, series: Series) -> str:
        """Return the key of a series' journal, a stream; like the evidence key, it lacks the exchange's host."""
        return f"{{{self.candle_key(series)}}}:journal"

    def feed_key(self, series: Series) -> str:
        """Return the key of a series' feed, a stream of changes for other programs."""
        return f"{{{self.candle_key(series)}}}:changes"

    def index_key(self) -> str:
        """Return the key of the index, a sorted set of the series in the order of their last writes."""
        return self.key("changed")

    def write_keys(self, series: Series) -> tuple[str, str, str, str]:
        """Return the keys that a write of a series touches, all in one Cluster slot."""
        return self.candle_key(series), self.evidence_key(series), self.journal_key(series), self.feed_key(series)

    def repaired_channel(self, series: Series) -> str:
        """Return the channel on which repaired ranges of a series are announced."""
        return self._channel(series, "repaired")

    def close_channel(self, series: Series) -> str:
        """Return the feeder's channel of closed bars, to which its indicators listen."""
        return self._channel(series, "close")

    def _channel(self, series: Series, subject: str) -> str:
        start = self.layout.channel(self.user_id, self.exchange_id, subject)
        return f"{start}:{series.symbol}:{series.timeframe.value}"

    def fence_key(self, job: str) -> str:
        """Return the key of a job's fence, a hash of the lease's epoch and the open run."""
        return self.key(f"fence:{job}")

    def key(self, name: str) -> str:
        """Return one of the engine's own keys."""
        return f"recon:{{{self.layout.owner(self.user_id, self.exchange_id)}:{self.source}}}:{name}"

    def shared_key(self, name: str) -> str:
        """Return a key that all scopes of one exchange share, such as a budget; its tag is only the exchange's host."""
        return f"recon:{{{self.source}}}:{name}"
