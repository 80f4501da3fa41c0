"""Addresses of a cluster or of a primary behind Sentinels, read from redis+cluster:// and redis+sentinel:// URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from reconciler_engine.store.client.address import Address, TlsFiles

SENTINEL_PORT: Final = 26_379
MOST_HOSTS: Final = 64

Place = tuple[str, int]
"""Host and port, as a cluster or a Sentinel announces them."""

AddressMap = Mapping[tuple[str, int | None], tuple[str, int | None]]
"""Announced host and port, mapped to those to connect to. Port None stands for all ports of the host."""

_PLAIN: Final = {
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
    "redis+sentinel": "redis",
    "rediss+sentinel": "rediss",
}
SCHEMES: Final = ("redis", "rediss", "unix", *_PLAIN)
"""Schemes of all forms of an address."""

_HAS_PORT: Final = re.compile(r":[0-9]*$")
_PLACE: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:=,@/\[\]]+)(?::([1-9][0-9]{0,4}))?")
_MOST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class _Announced:
    """Servers whose addresses are announced by the nodes of a cluster or by Sentinels.

    Attributes:
        server: Login, certificates and database of each server; host and port are not used.
        mapped: Addresses to connect to in place of announced ones.
    """

    server: Address
    mapped: AddressMap

    @property
    def password(self) -> str | None:
        """Password of each server, or None to connect without one."""
        return self.server.password

    @property
    def tls(self) -> TlsFiles | None:
        """Certificates, or None for plain connections."""
        return self.server.tls

    def reached(self, place: Place) -> Address:
        """Return the address at which to reach an announced server."""
        return _reached(self.server, place, self.mapped)


@dataclass(frozen=True, slots=True)
class ClusterAddress(_Announced):
    """Address of a cluster: some of its nodes, which name the others. `str()` gives a URL without user and password.

    Attributes:
        seeds: Nodes to ask for the first slot map.
    """

    seeds: tuple[Place, ...]

    def __str__(self) -> str:
        return f"{_scheme(self.server)}+cluster://{_listed(self.seeds)}"


@dataclass(frozen=True, slots=True)
class SentinelAddress(_Announced):
    """Address of a primary that Sentinels name. `str()` gives a URL without users and passwords.

    Attributes:
        sentinels: Addresses of the Sentinels, with their own login.
        service: The Sentinels' name for the primary.
    """

    sentinels: tuple[Address, ...]
    service: str

    def __str__(self) -> str:
        places = _listed([(one.host, one.port) for one in self.sentinels])
        return f"{_scheme(self.server)}+sentinel://{places}/{quote(self.service, safe='')}/{self.server.db}"


def parse_address(url: str) -> Address | ClusterAddress | SentinelAddress:
    """Read a URL of one server (see `Address.parse`), of a cluster, or of a primary behind Sentinels.

    `redis+cluster://[[user]:[password]@]host[:port],host[:port]`,
    `redis+sentinel://[[user]:[password]@]host[:port],host[:port]/service[/db]`, and `rediss+...` the same over TLS.
    Further query options: address_map, pairs as in `parse_address_map` separated by commas; with Sentinels also
    sentinel_username and sentinel_password, the login at the Sentinels.

    Raises:
        ValueError: A part is not allowed. The message names it and the allowed form, never the URL, which may hold a
            password.
    """
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"redis_url: scheme must be one of {', '.join(f'{one}://' for one in SCHEMES)}")
    if scheme not in _PLAIN:
        return Address.parse(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("redis_url: not a URL") from None
    login, at, names = parts.netloc.rpartition("@")
    hosts = names.split(",")
    if not all(hosts) or len(hosts) > MOST_HOSTS:
        raise ValueError(f"redis_url: 1 to {MOST_HOSTS} hosts are written host:port,host:port without spaces")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    mapped = parse_address_map([pair for pair in options.pop("address_map", "").split(",") if pair])
    theirs = [options.pop(name, "") for name in ("sentinel_username", "sentinel_password")]
    # Pass a fragment on: `Address.parse` refuses it.
    rest = urlencode(options) + ("#" if "#" in url else "")
    plain = _PLAIN[scheme]
    if scheme.endswith("cluster"):
        if any(theirs):
            raise ValueError("redis_url: sentinel_username and sentinel_password are for redis+sentinel:// alone")
        nodes = [Address.parse(f"{plain}://{login}{at}{host}{parts.path}?{rest}") for host in hosts]
        if nodes[0].db:
            raise ValueError("redis_url: a cluster has one database; allowed: none, or 0")
        return ClusterAddress(nodes[0], mapped, tuple((one.host, one.port) for one in nodes))
    service, database = _service(parts)
    server = Address.parse(f"{plain}://{login}{at}localhost/{database}?{rest}")
    tls = urlencode({name: value for name, value in options.items() if name.startswith("ssl_")})
    own = ":".join(quote(text, safe="") for text in theirs) + "@" if any(theirs) else ""
    places = [host if _HAS_PORT.search(host) else f"{host}:{SENTINEL_PORT}" for host in hosts]
    sentinels = tuple(Address.parse(f"{plain}://{own}{place}?{tls}") for place in places)
    return SentinelAddress(server, mapped, sentinels, service)


def parse_address_map(pairs: Sequence[str]) -> AddressMap:
    """Read pairs `ANNOUNCED=REACHED`: both sides HOST:PORT, or both a HOST that stands for all its ports.

    Raises:
        ValueError: A pair has another form, or an address is announced twice; the message quotes the pair.
    """
    mapped: dict[tuple[str, int | None], tuple[str, int | None]] = {}
    for pair in pairs:
        sides = [_side(side) for side in pair.split("=")]
        if len(sides) != len(("announced", "reached")) or (sides[0][1] is None) != (sides[1][1] is None):
            raise ValueError(f"address map: {pair!r} must be HOST:PORT=HOST:PORT or HOST=HOST")
        if sides[0] in mapped:
            raise ValueError(f"address map: {pair!r} gives an announced address a second time")
        mapped[sides[0]] = sides[1]
    return mapped


def _side(text: str) -> tuple[str, int | None]:
    found = _PLACE.fullmatch(text)
    if found is None or int(found[2] or 1) > _MOST_PORT:
        raise ValueError(f"address map: {text!r} is neither HOST:PORT nor HOST")
    return found[1].strip("[]"), None if found[2] is None else int(found[2])


def _service(parts: SplitResult) -> tuple[str, str]:
    """Return the service and the database in the path of a URL."""
    service, *database = parts.path.strip("/").split("/")
    if not service or len(database) > 1:
        raise ValueError("redis_url: Sentinels need the name of a service: redis+sentinel://host:26379/SERVICE/DB")
    return unquote(service), database[0] if database else ""


def _reached(server: Address, place: Place, mapped: AddressMap) -> Address:
    host, port = mapped.get(place) or mapped.get((place[0], None)) or place
    return replace(server, host=host, port=place[1] if port is None else port)


def _scheme(server: Address) -> str:
    return "redis" if server.tls is None else "rediss"


def _listed(places: Sequence[Place]) -> str:
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in places)
