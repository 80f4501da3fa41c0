"""Clients other than the product's, which ask a server of these tests over plain http."""

from __future__ import annotations

import ssl

import httpx


def open_http(base_url: str) -> httpx.AsyncClient:
    """A client that trusts nobody: loading the authorities, which plain http has no use for, takes 60 ms of CPU."""
    return httpx.AsyncClient(base_url=base_url, trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
