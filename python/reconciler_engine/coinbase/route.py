"""The route to the exchange: the proxy, and the trusted certificate authorities."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from reconciler_engine.errors import ConfigError

_PROXY_FORM = "http://[USER:PASSWORD@]HOST[:PORT], or the same with https://"
_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A checked HTTP proxy; `str()` and `repr()` hide user and password.

    Attributes:
        url: URL of the proxy, without user and password.
        login: User and password; None if the proxy needs none.
    """

    url: str
    login: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the URL of a proxy.

        Raises:
            ValueError: The URL has another form; the message does not repeat it, since it may contain a password.
        """
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError(f"no URL; allowed: {_PROXY_FORM}") from None
        odd = parts.path not in ("", "/") or parts.query or parts.fragment or not text.isascii() or " " in text
        if parts.scheme not in {"http", "https"} or odd or port == 0 or _HOST.fullmatch(host) is None:
            raise ValueError(f"another form; allowed: {_PROXY_FORM}")
        shown = f"[{host}]" if ":" in host else host
        login = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
        return cls(f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}", login)

    def __str__(self) -> str:
        return self.url if self.login is None else self.url.replace("://", "://***@")


@dataclass(frozen=True, slots=True)
class Route:
    """The route to the exchange; the environment's proxies and certificate settings are never used.

    Attributes:
        ca_file: PEM file of the authorities to trust instead of the public ones; None to trust the public ones.
        proxy: Proxy for requests to other machines; None to connect directly.
    """

    ca_file: Path | None = None
    proxy: Proxy | None = None

    def __str__(self) -> str:
        ways = [f"through {self.proxy}"] if self.proxy else []
        return ", ".join([*ways, f"certificates by {self.ca_file}"] if self.ca_file else ways)

    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS context that trusts `ca_file`; None if there is no such file.

        Raises:
            ConfigError: The file cannot be read or contains no certificate.
        """
        if self.ca_file is None:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file.expanduser())
        except ssl.SSLError:
            raise ConfigError(
                [f"ca_file {self.ca_file}: holds no certificate; allowed: a file of PEM blocks"]
            ) from None
        except OSError as error:
            raise ConfigError([f"ca_file {self.ca_file}: cannot be read: {error.strerror}"]) from error
        return context


DIRECT = Route()
"""Without a proxy, and with the public authorities."""
