"""Access to the pages: the methods, the host names and the token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from http import HTTPStatus

from reconciler_engine.http_server import Request, Response
from reconciler_engine.observe.web.http import refuse

METHODS = ("GET", "HEAD")


class Access:
    """Turns away requests that must not reach the pages.

    Nothing behind it changes anything, so GET and HEAD are all there is. A page of another site that had its name
    resolve to this machine (DNS rebinding) sends that name as Host, so names are let in by a list; an address is no
    name. With a token, every request must bear it.
    """

    def __init__(self, hosts: Collection[str], token: str | None) -> None:
        """Let in requests for `localhost`, for any IP address, and for these names, in upper or lower case."""
        self._hosts = frozenset(host.lower() for host in ("localhost", *hosts))
        self._token = None if token is None else token.encode()

    def __repr__(self) -> str:
        return f"<Access for {', '.join(sorted(self._hosts))}>"

    def refuse(self, request: Request) -> Response | None:
        """Return why a request is turned away; None lets it in."""
        if request.method not in METHODS:
            allowed = ", ".join(METHODS)
            text = f"method not allowed; allowed: {allowed}"
            return refuse(HTTPStatus.METHOD_NOT_ALLOWED, text, ("allow", allowed))
        # Load balancers ask in HTTP/1.0 without a host. No page of a browser can.
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
        # In a time that says nothing of how much of it was right.
        return hmac.compare_digest(given.strip().encode(), self._token) and scheme.lower() == "bearer"
