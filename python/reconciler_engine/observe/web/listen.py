"""The address at which the pages are served."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9464
_OFF = ("off", "0")
_MOST = 65_535
_TOKEN = re.compile(r"[\x21-\x7e]{16,256}")
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,10}")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An address of this machine, and a port; port 0 is any free port."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `host:port` or `port`; `off` and `0` return None. An IPv6 address must be in brackets.

        Raises:
            ValueError: The text has another form.
        """
        text = text.strip()
        if text.lower() in _OFF:
            return None
        host, colon, port = text.rpartition(":")
        if not port.isascii() or not port.isdigit() or int(port) > _MOST:
            raise ValueError("no port")
        if not colon:
            return cls(port=int(port))
        if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
            raise ValueError("an IPv6 address stands in brackets")
        host = host.removeprefix("[").removesuffix("]")
        if host == "localhost":
            return cls(port=int(port))
        return cls(str(ipaddress.ip_address(host)), int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def check_host(name: str) -> str:
    """Return `name` if it is a valid host name.

    Raises:
        ValueError: The name is not valid.
    """
    if _HOST.fullmatch(name) is None:
        raise ValueError(f"{name[:100]!r} is not a name of a machine: letters, digits and -, parted by dots, no port")
    return name


def check_token(token: str) -> str:
    """Return `token` if it can be sent in a header and is hard to guess.

    Raises:
        ValueError: The token is not 16 to 256 printable ASCII characters; the message does not repeat it.
    """
    if _TOKEN.fullmatch(token) is None:
        raise ValueError("too short, too long, or other characters")
    return token


def exposure_faults(address: ListenAddress | None, origin: str, *, has_token: bool) -> list[str]:
    """Return a fault if other machines can reach the address and no token is set."""
    if address is None or address.is_loopback or has_token:
        return []
    why = "other machines can ask there, so listen_token must be set"
    return [f"listen {str(address)!r}{origin}: {why}; allowed without: 127.0.0.1:PORT, [::1]:PORT, off"]
