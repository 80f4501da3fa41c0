"""An asyncio bot beside a running engine that trades only on bars that can be trusted.

python asyncio_bot.py REDIS_URL BASE_URL SYMBOL TIMEFRAME BARS ROUNDS
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request
from typing import Any

import redis.asyncio

from reconciler_engine import is_ready, permit, wait_ready


def fetch(url: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request to the exchange; return the status, headers and body of the answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  the URL is the caller's own
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, dict(refusal.headers), refusal.read()


async def read_ready(client: redis.asyncio.Redis, symbol: str, timeframe: str, bars: int) -> list[Any]:
    """Return the newest members once they are ready, or an empty list if they are not ready within a minute.

    The members are read before and after the gate is asked. If both reads are equal, the gate examined these members,
    although other programs may change the cache at any time.
    """
    while await wait_ready(client, symbol, timeframe, bars, timeout=60):
        key = f"candles:1:1:{symbol}:{timeframe}"
        members = await client.zrange(key, -bars, -1)
        if await is_ready(client, symbol, timeframe, bars) and await client.zrange(key, -bars, -1) == members:
            return members
    return []


async def trade(client: redis.asyncio.Redis, base_url: str, symbol: str, timeframe: str, bars: int) -> None:
    """Read ready bars, request the exchange's time within the engine's budget, and trade."""
    members = await read_ready(client, symbol, timeframe, bars)
    if not members:
        print("not ready", flush=True)
        return
    async with permit(client, base_url=base_url, name="asyncio bot") as request:
        try:
            status, headers, body = await asyncio.to_thread(fetch, f"{base_url}/api/v3/brokerage/time")
        except OSError:
            request.unanswered()
            return
        request.answered(status, headers, body)
    first, last = (json.loads(member)["timestamp"] for member in (members[0], members[-1]))
    print("trade on", len(members), "bars from", first, "to", last, flush=True)


async def main(url: str, base_url: str, symbol: str, timeframe: str, bars: str, rounds: str) -> None:
    """Trade `rounds` times."""
    async with redis.asyncio.Redis.from_url(url) as client:
        for _ in range(int(rounds)):
            await trade(client, base_url, symbol, timeframe, int(bars))


asyncio.run(main(*sys.argv[1:]))
