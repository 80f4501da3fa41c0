"""A program that is not ours: asks the exchange all the time, by the permits of an engine.

python foreign_program.py KIND REDIS_URL BASE_URL PRIORITY
"""

from __future__ import annotations

import asyncio
import sys
import urllib.error
import urllib.request
from contextlib import suppress

import redis as redis_py
import redis.asyncio
import trio

from reconciler_engine import TrioRedis, permit
from reconciler_engine.errors import PermitRefused

TASKS = 3


def fetch(base_url, request):
    """Send the request and tell what came of it."""
    if not request.is_valid():
        return
    try:
        with urllib.request.urlopen(f"{base_url}/api/v3/brokerage/time", timeout=5) as answer:
            request.answered(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as refusal:
        request.answered(refusal.code, dict(refusal.headers), refusal.read())
    except OSError:
        request.unanswered()


async def ask(client, base_url, priority, in_thread):
    while True:
        with suppress(PermitRefused):
            async with permit(client, base_url=base_url, priority=priority, name="awaited") as request:
                await in_thread(fetch, base_url, request)


async def run_asyncio(url, base_url, priority):
    async with redis.asyncio.Redis.from_url(url) as client, asyncio.TaskGroup() as tasks:
        for _ in range(TASKS):
            tasks.create_task(ask(client, base_url, priority, asyncio.to_thread))


async def run_trio(url, base_url, priority):
    async with TrioRedis.from_url(url) as client, trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(ask, client, base_url, priority, trio.to_thread.run_sync)


def run_sync(url, base_url, priority):
    with redis_py.Redis.from_url(url) as client:
        while True:
            with suppress(PermitRefused), permit(client, base_url=base_url, priority=priority, name="sync") as request:
                fetch(base_url, request)


KIND, URL, BASE_URL, PRIORITY = sys.argv[1:]
if KIND == "asyncio":
    asyncio.run(run_asyncio(URL, BASE_URL, PRIORITY))
elif KIND == "trio":
    trio.run(run_trio, URL, BASE_URL, PRIORITY)
else:
    run_sync(URL, BASE_URL, PRIORITY)
