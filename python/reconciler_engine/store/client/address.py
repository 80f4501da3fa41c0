"""Address and login of one Redis server, read from redis://, rediss:// and unix:// URLs."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

DEFAULT_PORT: Final = 6379
_LONGEST_DATABASE: Final = 9
_LOGIN_OPTIONS: Final = ("db", "password", "username")
_TLS_OPTIONS: Final = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_cert_reqs",
    "ssl_keyfile",
    "ssl_password",
)
_ENCODING_HINT: Final = "characters such as / ? # @ % in a user name or password are written percent-encoded"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificate files of a TLS connection; by default the system's authorities and no client certificate."""

    ca_certs: str | None = None
    ca_path: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    key_password: str | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        """Build a context that verifies the server's certificate and host name.

        Raises:
            ValueError: A file cannot be read or used; the message names the options and the files.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_certs, capath=self.ca_path)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                f"redis_url: ssl_ca_certs {self.ca_certs!r} or ssl_ca_path {self.ca_path!r} cannot be read: {error}"
            ) from error
        if self.certfile is not None:
            try:
                context.load_cert_chain(self.certfile, self.keyfile, self.key_password)
            except (OSError, ssl.SSLError) as error:
                raise ValueError(
                    f"redis_url: ssl_certfile {self.certfile!r}, ssl_keyfile {self.keyfile!r} cannot be used: {error}"
                ) from error
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """Address of one database of one server. `str()` gives a URL without user and password.

    Attributes:
        host: Name or IP address; empty for a unix socket.
        port: TCP port; 0 for a unix socket.
        path: Path of the unix socket, or None for TCP.
        db: Number of the database.
        username: User of the server's ACL, or None for the default user.
        password: Password, or None to connect without one; never in a repr.
        tls: Certificates of a rediss:// address, or None for a plain connection.
    """

    host: str = "localhost"
    port: int = DEFAULT_PORT
    path: str | None = None
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: TlsFiles | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL in redis-py's form.

        `redis://[[user]:[password]@]host[:port][/db]`, `rediss://` the same over TLS,
        `unix://[[user]:[password]@]/path/to/socket[?db=n]`. Query options: db, username, password and, for rediss,
        ssl_ca_certs, ssl_ca_path, ssl_certfile, ssl_keyfile, ssl_password. The server's certificate is always
        verified: ssl_cert_reqs may only be `required`.

        Raises:
            ValueError: A part is not allowed. The message names it and the allowed form, never the URL, which may hold
                a password.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            # `from None`, since urlsplit's message repeats user and password.
            raise ValueError(f"redis_url: not a URL; {_ENCODING_HINT}") from None
        if parts.scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("redis_url: scheme must be redis://, rediss:// or unix://")
        if parts.fragment or url.endswith("#"):
            raise ValueError(f"redis_url: a fragment (#...) has no meaning; {_ENCODING_HINT}")
        options = _options(parts)
        username = _text(parts.username, options.get("username"))
        password = _text(parts.password, options.get("password"))
        if username is not None and password is None:
            raise ValueError("redis_url: a user name needs a password; write redis://user:password@host")
        if parts.scheme == "unix":
            if parts.hostname or not parts.path:
                raise ValueError("redis_url: a unix URL has three slashes and an absolute path: unix:///path/to/socket")
            path = unquote(parts.path)
            if "\0" in path:
                raise ValueError("redis_url: the path of a socket holds no zero byte")
            database = _database(options.get("db", ""))
            return cls(host="", port=0, path=path, db=database, username=username, password=password)
        return cls(
            host=_host(parts),
            port=_port(parts),
            db=_database(options.get("db") or unquote(parts.path).strip("/")),
            username=username,
            password=password,
            tls=_tls_files(options) if parts.scheme == "rediss" else None,
        )

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}" + (f"?db={self.db}" if self.db else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'redis' if self.tls is None else 'rediss'}://{host}:{self.port}/{self.db}"


def _options(parts: SplitResult) -> dict[str, str]:
    allowed = _LOGIN_OPTIONS + (_TLS_OPTIONS if parts.scheme == "rediss" else ())
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in allowed:
            # The message does not repeat the name: after a ? in a password, the rest of it looks like an option.
            raise ValueError(
                f"redis_url: unknown option in the query; {parts.scheme} allows {', '.join(allowed)}; {_ENCODING_HINT}"
            )
        options[name] = value
    if options.get("ssl_cert_reqs", "required") != "required":
        raise ValueError(
            "redis_url: ssl_cert_reqs must be 'required'; for a private authority give its file as ssl_ca_certs"
        )
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ValueError("redis_url: ssl_keyfile needs ssl_certfile")
    return options


def _text(in_netloc: str | None, in_query: str | None) -> str | None:
    if in_netloc:
        return unquote(in_netloc)
    return in_query or None


def _host(parts: SplitResult) -> str:
    host = unquote(parts.hostname or "localhost")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(
            f"redis_url: host must be an address or a name of parts of 1 to 63 characters; {_ENCODING_HINT}"
        ) from None
    return host


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        # `from None` below, since urlsplit's message repeats the text: part of a password if that holds a slash.
        port = 0
    if port == 0:
        raise ValueError(f"redis_url: port must be a number from 1 to 65535; {_ENCODING_HINT}") from None
    return DEFAULT_PORT if port is None else port


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_DATABASE):
        raise ValueError(f"redis_url: database must be a number of 1 to {_LONGEST_DATABASE} digits; {_ENCODING_HINT}")
    return int(text)


def _tls_files(options: dict[str, str]) -> TlsFiles:
    return TlsFiles(
        ca_certs=options.get("ssl_ca_certs"),
        ca_path=options.get("ssl_ca_path"),
        certfile=options.get("ssl_certfile"),
        keyfile=options.get("ssl_keyfile"),
        key_password=options.get("ssl_password"),
    )
