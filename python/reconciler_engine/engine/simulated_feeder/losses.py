"""The losses of the simulated websocket feed: decided by hashing, the same in every run of a seed."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series

HANDSHAKE_MS = 15_000
"""Time between two handshakes of a feed without a connection (feeder.md: ten take 150 s)."""

REFUSALS_LIMIT = 10
"""Refused handshakes in a row after which the feed gives up for good."""

_HOUR_MS = 3_600_000
_WHOLE = 1 << 64
# An outage fills at most half of its period, so that two outages never touch.
_OUTAGE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class FeedLosses:
    """Extent of a feed's losses.

    Attributes:
        seed: Seed of all draws: the same seed gives the same losses.
        disconnects_per_hour: Disconnects per hour; 0 for none.
        outage_ms: Shortest and longest time for which handshakes are refused after a disconnect.
        lost_share: Share of 1m bars that lose all their trades.
        twin_share: Share of the reconnects after a refused handshake that leave two sockets alive.
        snapshot_slots: Number of newest slots from which a snapshot is taken.
        snapshot_limit: Most candles of a series in a snapshot. Coinbase sends at most 100, spread over about 160 slots
            even if every slot traded (coinbase-api.md section 6, read 2026-11-23).
        snapshot_share: Share of the bars in a snapshot, up to the limit.

    Raises:
        ValueError: A share is not in [0, 1], or a time or count is negative or out of order.
    """

    seed: int = 1
    disconnects_per_hour: float = 12.0
    outage_ms: tuple[int, int] = (20_000, 150_000)
    lost_share: float = 0.01
    twin_share: float = 0.5
    snapshot_slots: int = 160
    snapshot_limit: int = 100
    snapshot_share: float = 0.8

    def __post_init__(self) -> None:
        for name in ("lost_share", "twin_share", "snapshot_share"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"{name} {share!r} is not between 0 and 1")
        if not 0 <= self.disconnects_per_hour <= _HOUR_MS:
            raise ValueError(f"disconnects_per_hour {self.disconnects_per_hour!r} is not between 0 and {_HOUR_MS}")
        if not 0 < self.outage_ms[0] <= self.outage_ms[1]:
            raise ValueError(f"outage_ms {self.outage_ms!r} is not a shortest and longest time > 0")
        if self.snapshot_slots < 1 or self.snapshot_limit < 0:
            raise ValueError("snapshot_slots must be at least 1 and snapshot_limit at least 0")

    def find_outage(self, instant: int) -> Interval | None:
        """Return the outage that `instant` (ms UTC) lies in, if any."""
        if not self.disconnects_per_hour:
            return None
        period_ms = round(_HOUR_MS / self.disconnects_per_hour)
        number = instant // period_ms
        begin, length = self._draw("outage", number)
        shortest, longest = self.outage_ms
        lasts = min(shortest + length * (longest - shortest), period_ms * _OUTAGE_SHARE)
        start = number * period_ms + int(begin * (period_ms - lasts))
        outage = Interval(start, start + int(lasts))
        return outage if instant in outage else None

    def is_lost(self, series: Series, start: int) -> bool:
        """Return whether the 1m bar that opens at `start` loses all its trades."""
        return self._draw(str(series), start)[0] < self.lost_share

    def has_twin(self, connected_at: int) -> bool:
        """Return whether a reconnect after a refused handshake leaves the earlier socket alive, too."""
        return self._draw("twin", connected_at)[0] < self.twin_share

    def choose_snapshot(self, series: Series, starts: list[int], taken_at: int) -> list[int]:
        """Return the open times, among `starts` (ascending), of the bars in the snapshot taken at `taken_at`.

        The newest bar is always included unless the limit is 0.
        """
        if not starts or not self.snapshot_limit:
            return []
        *older, newest = starts
        chosen = [start for start in older if self._draw(f"{series}@{taken_at}", start)[0] < self.snapshot_share]
        # A hashed draw ranks the bars, so that the surplus is dropped evenly over the slots.
        surplus = len(chosen) + 1 - self.snapshot_limit
        if surplus > 0:
            ranked = sorted(chosen, key=lambda start: self._draw(f"{series}@{taken_at}", start)[1])
            chosen = sorted(ranked[surplus:])
        return [*chosen, newest]

    def _draw(self, what: str, number: int) -> tuple[float, float]:
        """Return two numbers in [0, 1), hashed from the seed and the arguments."""
        text = f"{self.seed}:{what}:{number}".encode()
        first, second = struct.unpack("<2Q", hashlib.blake2b(text, digest_size=16).digest())
        return first / _WHOLE, second / _WHOLE


EventKind = Literal["connected", "disconnected", "gave_up"]


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """An event of the connection.

    Attributes:
        time_ms: Time of the exchange (ms UTC).
        kind: Kind of event.
        candles: Number of candles in the snapshots after a connect.
        until: End of the outage after a disconnect (ms UTC).
        sockets: Number of live sockets after a connect.
    """

    time_ms: int
    kind: EventKind
    candles: int = 0
    until: int = 0
    sockets: int = 1
