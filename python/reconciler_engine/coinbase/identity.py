"""The identity a client asks under: signs its requests, and stops when they are refused for good."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn

from reconciler_engine.errors import NotAuthorized, TokenRefused

if TYPE_CHECKING:
    # Cryptography is loaded by those who have a key, not by every worker.
    from reconciler_engine.coinbase.auth import Credentials

ROUNDS = 4
"""Refusals in a row, each of a request sent after the one before it came back, until the identity stops.

Good tokens are refused now and then, and throttling has come as 401 (field reports): one refusal says little."""

_CAUSES = (
    "usual causes: this machine's clock is off; the key name is not the full text of the key file; the key was "
    "deleted, lacks the view permission, or is limited to other addresses; it is a legacy key"
)


class Identity:
    """Credentials in use, with the refusals they met. Of calls under way at the same time one refusal counts."""

    def __init__(self, credentials: Credentials, authority: str, now: Callable[[], int]) -> None:
        """Sign for the host `authority`, by the clock `now` (ms UTC)."""
        self._credentials = credentials
        self._authority = authority
        self._now = now
        self._rounds = 0

    @property
    def stopped(self) -> bool:
        """Whether nothing is sent under this identity any more."""
        return self._rounds >= ROUNDS

    def sign(self, path: str) -> tuple[dict[str, str], int]:
        """Return the headers of one GET request, with a token of its own, and its round for `refuse`.

        Raises:
            NotAuthorized: The identity has stopped.
        """
        if self.stopped:
            raise self._final(HTTPStatus.UNAUTHORIZED, "not asked again")
        token = self._credentials.token("GET", self._authority, path, now=self._now(), nonce=secrets.token_hex(16))
        return {"authorization": f"Bearer {token}"}, self._rounds

    def accept(self) -> None:
        """Take note that a signed request was served."""
        self._rounds = 0

    def refuse(self, error: NotAuthorized, sent_in: int) -> NoReturn:
        """Take note that a signed request was refused, and raise what that means.

        Args:
            error: The answer's error.
            sent_in: The round `sign` gave for the request.

        Raises:
            TokenRefused: A fresh token may pass.
            NotAuthorized: It would not, or the identity has stopped.
        """
        if sent_in == self._rounds:
            self._rounds += 1
        if self.stopped:
            raise self._final(error.status, f"{ROUNDS} times in a row") from error
        if error.status == HTTPStatus.UNAUTHORIZED:
            raise TokenRefused(self._rounds, ROUNDS) from error
        raise error

    def _final(self, status: int, reason: str) -> NotAuthorized:
        return NotAuthorized(status, f"{reason}; {_CAUSES}")
