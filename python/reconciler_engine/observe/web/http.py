"""A request and its answer, as the pages know them: nothing of sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
JSON_LINES = "application/jsonl"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: a method, a path without its query, headers by their small names."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered; `closes` ends the connection after it."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    closes: bool = False

    @classmethod
    def refusal(cls, status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Answer:
        """Return a refusal in words; whoever gets one has to connect anew."""
        return cls(status, TEXT, f"{text}\n".encode(), headers, closes=True)
