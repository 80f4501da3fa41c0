"""The sender of posts: one at a time, in order, each with its signature, with retries while the receiver fails."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Any, Final, NamedTuple
from uuid import uuid4

import httpx
import trio

from reconciler_engine.observe.metrics import WEBHOOK_POSTS

SIGNATURE: Final = "x-reconciler-signature"
"""Header that holds `sha256=` and the hex HMAC-SHA256 of the body under the secret; not sent without a secret."""

DELIVERY: Final = "x-reconciler-delivery"
"""Header that holds the post's id; retries of a post have the same id."""

GIVE_UP_S: Final = 6 * 3_600.0
"""Time after which a post that the receiver did not take is dropped (s)."""

_QUEUE = 1_000
_TIMEOUT_S = 10.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 300.0
_AGAIN = frozenset({408, 425, 429})
_logger = logging.getLogger(__name__)


class Target(NamedTuple):
    """URL that posts go to, and the secret that signs them; without a secret they are unsigned."""

    url: str
    secret: str | None = None


class Post(NamedTuple):
    """A post: its id, and its body as JSON text."""

    id: str
    body: bytes

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Post:
        """Make a post of these fields, with a new id."""
        name = uuid4().hex
        return cls(name, json.dumps({"id": name, **told}).encode())


class Answer(NamedTuple):
    """Outcome of sending once: whether the receiver took the post, whether to retry, and a description."""

    taken: bool
    again: bool
    detail: str


class Sender:
    """Sends posts in their order, so that an alert's end never arrives before its beginning."""

    def __init__(self, target: Callable[[], Target | None], random: Random | None = None) -> None:
        """Make a sender; `target` returns the current target, or None to discard posts."""
        self._target = target
        self._random = random or Random()
        self._under_way: Post | None = None
        self._queue, self._posts = trio.open_memory_channel[Post](_QUEUE)

    def post(self, told: Mapping[str, Any]) -> None:
        """Queue a post of these fields, and return at once; if the queue is full, drop the post and log that."""
        try:
            self._queue.send_nowait(Post.of(told))
        except trio.WouldBlock:
            WEBHOOK_POSTS.add(1, "dropped")
            _logger.error("a post is dropped, too many wait", extra={"waiting": _QUEUE})

    async def run(self) -> None:
        """Send queued posts until cancelled."""
        async for post in self._posts:
            self._under_way = post
            await self._deliver(post)
            self._under_way = None

    async def send_rest(self) -> None:
        """Send all queued posts without retries; call after `run` has ended."""
        if self._under_way is not None:
            await self._send_once(self._under_way)
        with suppress(trio.WouldBlock):
            while True:
                await self._send_once(self._posts.receive_nowait())

    async def _send_once(self, post: Post) -> None:
        if (target := self._target()) is not None:
            answer = await send(target, post)
            WEBHOOK_POSTS.add(1, "taken" if answer.taken else "dropped")

    async def _deliver(self, post: Post) -> None:
        began, wait_s = trio.current_time(), _FIRST_WAIT_S
        while (target := self._target()) is not None:
            answer = await send(target, post)
            if answer.taken:
                WEBHOOK_POSTS.add(1, "taken")
                return
            if not answer.again or trio.current_time() - began >= GIVE_UP_S:
                WEBHOOK_POSTS.add(1, "dropped")
                _logger.error("a post was not taken", extra={"post": post.id, "error": answer.detail})
                return
            WEBHOOK_POSTS.add(1, "retried")
            _logger.warning("a post is sent again", extra={"post": post.id, "error": answer.detail, "in_s": wait_s})
            await trio.sleep(wait_s * self._random.uniform(0.5, 1))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


async def send(target: Target, post: Post) -> Answer:
    """Send a post once."""
    headers = {"content-type": "application/json", DELIVERY: post.id}
    if target.secret is not None:
        digest = hmac.new(target.secret.encode(), post.body, hashlib.sha256).hexdigest()
        headers[SIGNATURE] = f"sha256={digest}"
    try:
        with trio.fail_after(_TIMEOUT_S):
            async with _client(target.url) as client:
                status = (await client.post(target.url, content=post.body, headers=headers)).status_code
    except (httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError, OSError) as error:
        # The error's text may hold the URL, and the URL may hold a token.
        return Answer(taken=False, again=True, detail=type(error).__name__)
    taken = httpx.codes.is_success(status)
    again = status in _AGAIN or httpx.codes.is_server_error(status)
    return Answer(taken, again, f"HTTP {status}")


def _client(url: str) -> httpx.AsyncClient:
    logger = logging.getLogger("httpx")
    if logger.level == logging.NOTSET:
        # httpx logs every URL at INFO, and this URL may hold a token.
        logger.setLevel(logging.WARNING)
    is_plain = url.startswith("http://")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else httpx.create_ssl_context(trust_env=False)
    return httpx.AsyncClient(verify=context, trust_env=False, timeout=_TIMEOUT_S, follow_redirects=False)
