"""Trade on bars that can be trusted alone: an asyncio bot beside a running engine.

python asyncio_bot.py REDIS_URL BASE_URL SYMBOL TIMEFRAME BARS ROUNDS
"""

from __future__ import annotations

import asyncio
import sys
import urllib.error
import urllib.request

import redis.asyncio

from reconciler_engine import is_ready, permit, wait_ready


def fetch(url: str) -> tuple[int, dict[str, str], bytes]:
    """Ask the exchange, and return the status, headers and body of its answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  the URL is the caller's own
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, dict(refusal.headers), refusal.read()


async def trade(client: redis.asyncio.Redis, base_url: str, symbol: str, timeframe: str, bars: int) -> None:
    """Wait until the bars are ready, read them, ask the exchange for its time within the engine's budget, and trade."""
    if not await wait_ready(client, symbol, timeframe, bars, timeout=60):
        print("not ready", flush=True)
        return
    members = await client.zrange(f"candles:1:1:{symbol}:{timeframe}", -bars, -1)
    async with permit(client, base_url=base_url, name="asyncio bot") as request:
        try:
            status, headers, body = await asyncio.to_thread(fetch, f"{base_url}/api/v3/brokerage/time")
        except OSError:
            request.unanswered()
            return
        request.answered(status, headers, body)
    # The cache may have lost a bar meanwhile.
    if await is_ready(client, symbol, timeframe, bars):
        print("trade on", len(members), "members", flush=True)


async def main(url: str, base_url: str, symbol: str, timeframe: str, bars: str, rounds: str) -> None:
    """Trade so many times."""
    async with redis.asyncio.Redis.from_url(url) as client:
        for _ in range(int(rounds)):
            await trade(client, base_url, symbol, timeframe, int(bars))


asyncio.run(main(*sys.argv[1:]))
