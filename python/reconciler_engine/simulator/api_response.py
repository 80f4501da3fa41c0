"""Requests and answers as values, and the exact bodies of the exchange's errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qs, unquote

from reconciler_engine.http_server import Request, Response


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request as the exchange reads it.

    Attributes:
        method: HTTP method, such as `GET`.
        target: Path and query as sent.
        path: Path without the query, percent-decoded.
        values: Values of each query key, in the order sent.
        headers: Header values by lower-case name.
        peer: Address of the client, without the port.
        body: Bytes of the body; only the paths under `/simulator/` read it.
    """

    method: str
    target: str
    path: str
    values: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    peer: str
    body: bytes = b""

    @classmethod
    def read(cls, request: Request) -> Self:
        """Return the request with its path decoded and its query parsed, as the exchange does."""
        path, _, query = request.target.partition("?")
        return cls(
            method=request.method,
            target=request.target,
            path=unquote(path, errors="replace"),
            values=parse_qs(query, keep_blank_values=True, errors="replace"),
            headers=request.headers,
            peer=request.peer,
            body=request.body,
        )


@dataclass(frozen=True, slots=True)
class ApiResponse(Response):
    """An answer of the exchange, without the headers that every answer has.

    Attributes:
        rows: Number of candles in the answer; None where it is not about candles.
    """

    rows: int | None = None


_JSON = (("content-type", "application/json; charset=utf-8"),)
_TEXT = (("content-type", "text/plain; charset=utf-8"),)


def give_json(body: str, rows: int | None = None) -> ApiResponse:
    """Return a 200 with a JSON body."""
    return ApiResponse(HTTPStatus.OK, body.encode(), _JSON, rows=rows)


def refuse(status: int, error: str, details: str) -> ApiResponse:
    """Return an error as the exchange writes it: `message` repeats `error_details`.

    Source of the texts: coinbase-api.md section 2, read 2026-11-23. The exchange, too, ends some texts with a space.
    """
    body = json.dumps({"error": error, "error_details": details, "message": details}, separators=(",", ":"))
    return ApiResponse(status, body.encode(), _JSON)


def refuse_argument(details: str) -> ApiResponse:
    """Return the refusal of a query value that could be parsed but is not allowed."""
    return refuse(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", details)


def refuse_integer(name: str, value: str) -> ApiResponse:
    """Return the refusal of a query value that is not a 32-bit integer, in the words of Go's parser."""
    details = f'parsing field "{name}": strconv.ParseInt: parsing "{value}": invalid syntax'
    return refuse(HTTPStatus.BAD_REQUEST, "unknown", details)


def refuse_product(symbol: str) -> ApiResponse:
    """Return the refusal of an unlisted product by an endpoint whose text names the product."""
    return refuse(HTTPStatus.NOT_FOUND, "NOT_FOUND", f"Product {symbol} not supported")


UNKNOWN_PRODUCT = refuse(HTTPStatus.NOT_FOUND, "NOT_FOUND", "valid product_id is required")
UNKNOWN_PATH = refuse(HTTPStatus.NOT_FOUND, "NOT_FOUND", "Not Found")
WRONG_METHOD = ApiResponse(HTTPStatus.METHOD_NOT_ALLOWED, b"", (("allow", "GET"),))
UNAUTHORIZED = ApiResponse(HTTPStatus.UNAUTHORIZED, b"Unauthorized", _TEXT)
MISSING_SCOPE = refuse(HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", "Missing required scopes")
TOO_MANY_ERRORS = ApiResponse(HTTPStatus.FORBIDDEN, b"Too many errors", _TEXT)
