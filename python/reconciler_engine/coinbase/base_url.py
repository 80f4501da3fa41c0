"""The exchange's base URL. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Self
from urllib.parse import urlsplit

COINBASE = "https://api.coinbase.com"

_FORM = "https://HOST[:PORT], or http://HOST[:PORT] without credentials or on this machine"
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*\.?")
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A checked base URL; `str()` gives `https://api.coinbase.com`.

    Attributes:
        scheme: `https` or `http`.
        authority: Host in lower case, with the port unless it is the scheme's default; the Host header, to which the
            token is bound.
        loopback: Whether the host is this machine: an address of 127.0.0.0/8, ::1, or `localhost`.
    """

    scheme: str
    authority: str
    loopback: bool

    @classmethod
    def parse(cls, text: str, *, signed: bool) -> Self:
        """Parse a base URL.

        Plain http can be read and changed on its way, so requests with credentials use it only to this machine.

        Args:
            text: `SCHEME://HOST[:PORT]`, optionally with a trailing slash; no user, path, query or fragment.
            signed: Whether requests carry credentials.

        Raises:
            ValueError: `text` has another form, or is plain http to another machine although requests are signed. The
                message does not repeat a user and password.
        """
        try:
            parts = urlsplit(text)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError as error:
            raise ValueError(f"base_url is not a URL; allowed: {_FORM}") from error
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"base_url holds a user or password; allowed: {_FORM}")
        odd = text != text.strip() or any(letter in text for letter in "?#\\") or not text.isascii()
        if parts.scheme not in _DEFAULT_PORTS or parts.path not in ("", "/") or odd or port == 0:
            raise ValueError(f"base_url {text[:200]!r} is not allowed; allowed: {_FORM}")
        loopback, shown = _host(text, host)
        if parts.scheme == "http" and signed and not loopback:
            raise ValueError(f"base_url {text[:200]!r}: credentials need https; allowed: {_FORM}")
        suffix = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
        return cls(parts.scheme, f"{shown}{suffix}", loopback)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def _host(text: str, host: str) -> tuple[bool, str]:
    try:
        address = ip_address(host)
    except ValueError:
        if "[" in text or _NAME.fullmatch(host) is None:
            raise ValueError(f"base_url {text[:200]!r} has no valid host; allowed: {_FORM}") from None
        return host == "localhost", host
    return address.is_loopback, f"[{address}]" if isinstance(address, IPv6Address) else str(address)
