"""Access control of the pages: allowed methods, host names, and the token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from http import HTTPStatus

from reconciler_engine.http_server import Request, Response
from reconciler_engine.observe.web.http import refuse

METHODS = ("GET", "HEAD")


class Access:
    """Refuses requests that must not reach the pages.

    The pages change nothing, so only GET and HEAD are allowed. A foreign site can make its own name resolve to this
    machine (DNS rebinding); its requests have that name as Host. So only listed names and IP addresses are allowed. If
    a token is set, every request must carry it.
    """

    def __init__(self, hosts: Collection[str], token: str | None) -> None:
        """Allow requests for `localhost`, any IP address and these host names (case-insensitive), with this token."""
        self._hosts = frozenset(host.lower() for host in ("localhost", *hosts))
        self._token = None if token is None else token.encode()

    def __repr__(self) -> str:
        return f"<Access for {', '.join(sorted(self._hosts))}>"

    def refuse(self, request: Request) -> Response | None:
        """Return the refusal of a request; None if it is allowed."""
        if request.method not in METHODS:
            allowed = ", ".join(METHODS)
            text = f"method not allowed; allowed: {allowed}"
            return refuse(HTTPStatus.METHOD_NOT_ALLOWED, text, ("allow", allowed))
        # Load balancers ask in HTTP/1.0 without a host. A browser always sends one.
        host = request.headers.get("host")
        if host is not None and not self._knows(host):
            return refuse(HTTPStatus.MISDIRECTED_REQUEST, "this host is not served; see listen_hosts")
        if not self._trusts(request.headers.get("authorization", "")):
            text = "a bearer token is needed; see listen_token"
            return refuse(HTTPStatus.UNAUTHORIZED, text, ("www-authenticate", "Bearer"))
        return None

    def _knows(self, host: str) -> bool:
        name, _, port = host.rpartition(":")
        if not port.isdigit():
            name = host
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name.lower().removesuffix(".") in self._hosts
        return True

    def _trusts(self, authorization: str) -> bool:
        if self._token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        # Compared in constant time, so that the duration tells nothing about the token.
        return hmac.compare_digest(given.strip().encode(), self._token) and scheme.lower() == "bearer"
