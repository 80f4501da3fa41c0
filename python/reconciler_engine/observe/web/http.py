"""The answers of the pages: their content types, and refusals in words."""

from __future__ import annotations

from http import HTTPStatus

from reconciler_engine.http_server import Response

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
JSON_LINES = "application/jsonl"


def show(status: HTTPStatus, content_type: str, body: bytes) -> Response:
    """Return an answer whose body is of a type."""
    return Response(status, body, (("content-type", content_type),))


def refuse(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Response:
    """Return a refusal in words, after which the client has to connect anew."""
    return Response(status, f"{text}\n".encode(), (("content-type", TEXT), *headers), closes=True)
