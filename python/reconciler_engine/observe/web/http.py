"""HTTP responses of the pages: content types, and refusals with a text."""

from __future__ import annotations

from http import HTTPStatus

from reconciler_engine.http_server import Response

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
JSON_LINES = "application/jsonl"


def show(status: HTTPStatus, content_type: str, body: bytes) -> Response:
    """Return a response with a body of this content type."""
    return Response(status, body, (("content-type", content_type),))


def refuse(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Response:
    """Return a refusal with a text; the connection is closed after it."""
    return Response(status, f"{text}\n".encode(), (("content-type", TEXT), *headers), closes=True)
