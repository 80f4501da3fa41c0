"""Credentials: the API key that signs requests, kept out of logs, error messages and tracebacks.

Forms of keys and claims of tokens are those of the exchange's own SDK (1.8.4, read 2026-11-23). No exception of this
module contains key material, not even through its context.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, cast

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from reconciler_engine.coinbase.identity import Identity
from reconciler_engine.errors import ConfigError

TOKEN_LIFETIME_S = 120
"""Lifetime of a token, as documented (JWT Authentication)."""

_KEY_FILE_LIMIT_BYTES = 65_536
_NAME_LIMIT = 256
_ED25519_BYTES = 32
_FORMS = (
    "allowed: a PEM block (EC PRIVATE KEY or PRIVATE KEY, of an EC P-256 or Ed25519 key) "
    "or the base64 text of an Ed25519 key"
)
_MODES = (
    "0600 and less; or, where others cannot write it, below $CREDENTIALS_DIRECTORY or on a mount of secrets "
    "(read-only, or a tmpfs of its own)"
)
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)

_PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey


class Credentials:
    """An API key: its name, and its private key, which signs a new token for each request.

    `repr()` and `str()` show only the end of the name and the algorithm. Credentials cannot be pickled or copied.
    """

    __slots__ = ("_key", "algorithm", "name")

    def __init__(self, name: str, private_key: str) -> None:
        r"""Read a key as the exchange gives it; line ends may also be written as `\n` or be missing.

        Args:
            name: The key's name, `organizations/.../apiKeys/...`, or its id.
            private_key: PEM (SEC1 or PKCS#8) or base64 of an Ed25519 key of 32 or 64 bytes.

        Raises:
            ConfigError: The name or the key has another form; lists all mistakes, without repeating the key.
        """
        self.name, self.algorithm = "", "refused"
        fault, key = _name_fault(name), _private_key(private_key)
        if fault is not None or isinstance(key, str):
            # Some programs print the local variables of a traceback, and users confuse name and key: delete both.
            del name, private_key
            raise ConfigError([text for text in (fault, key) if isinstance(text, str)])
        self.name = name
        self.algorithm = "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"
        self._key = key

    @classmethod
    def read(cls, path: Path, *, credentials_directory: Path | None = None) -> Credentials:
        """Return the credentials of a key file as downloaded: JSON with `name` or `id`, and `privateKey`.

        Args:
            path: The file, of mode 0600 or less. Others may have the right to read it if it is below
                `credentials_directory`, on a read-only mount, or on a tmpfs only for secrets.
            credentials_directory: Folder in which the service manager puts this service's secrets.

        Raises:
            ConfigError: The file cannot be read, gives others too many rights, or has another form.
        """
        found = _pair(_text(path, credentials_directory))
        if isinstance(found, str):
            raise ConfigError([f"key file {path} {found}; allowed: the file as downloaded"])
        try:
            return cls(*found)
        except ConfigError as error:
            faults = error.faults
        del found
        raise ConfigError([f"key file {path}: {fault}" for fault in faults])

    def token(self, method: str, authority: str, path: str, *, now: int, nonce: str) -> str:
        """Return a token for one request.

        Args:
            method: HTTP method, such as `GET`.
            authority: The request's Host header.
            path: The request's path, without its query.
            now: The instant of signing (ms UTC); the token is valid for `TOKEN_LIFETIME_S` from then on.
            nonce: Random hexadecimal text, different for each token.
        """
        now_s = now // 1_000
        claims = {
            "sub": self.name,
            "iss": "cdp",
            "nbf": now_s,
            "exp": now_s + TOKEN_LIFETIME_S,
            "uri": f"{method} {authority}{path}",
        }
        return jwt.encode(claims, self._key, algorithm=self.algorithm, headers={"kid": self.name, "nonce": nonce})

    @property
    def identity(self) -> Identity:
        """Names under which the budget and the breaker of this key are kept."""
        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        name, key = (hashlib.sha256(text).hexdigest()[:16] for text in (self.name.encode(), public))
        return Identity(f"key-{name}", f"key-{name}-{key}")

    def hand_over(self) -> dict[str, str]:
        """Return the arguments from which another process of this engine creates the same `Credentials`.

        They contain the private key: send them only through the pipe to a child that signs.
        """
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {"name": self.name, "private_key": pem.decode("ascii")}

    def __repr__(self) -> str:
        return f"Credentials(...{self.name[-4:]}, {self.algorithm})"

    def __reduce__(self) -> Any:
        raise TypeError("credentials are not copied")


def _name_fault(name: str) -> str | None:
    if "PRIVATE KEY" in name:
        return "key name holds a private key; allowed: the text under `name` or `id` of the key file"
    if not 0 < len(name) <= _NAME_LIMIT or not name.isascii() or not name.isprintable() or name != name.strip():
        return (
            f"key name is not printable text of 1 to {_NAME_LIMIT} characters; allowed: `name` or `id` of the key file"
        )
    return None


def _private_key(text: str) -> _PrivateKey | str:
    """Return the private key in `text`, or an error message."""
    # Line ends may be written as `\n`, with a further backslash for each tool that has quoted the text.
    plain = re.sub(r"\\+n", "\n", re.sub(r"\\+r", "", text)).strip().strip("\"'").strip()
    if "-----BEGIN" in plain:
        return _from_pem(plain)
    try:
        raw = base64.b64decode("".join(plain.split()), validate=True)
    except ValueError:
        raw = b""
    if len(raw) not in (_ED25519_BYTES, 2 * _ED25519_BYTES):
        return f"private key has an unknown form (a legacy API secret cannot be used); {_FORMS}"
    key = Ed25519PrivateKey.from_private_bytes(raw[:_ED25519_BYTES])
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    if raw[_ED25519_BYTES:] not in (b"", public):
        return "private key is damaged: its two halves do not belong together; copy it again"
    return key


def _from_pem(text: str) -> _PrivateKey | str:
    blocks = [(label, "".join(body.split())) for label, body in _PEM.findall(text)]
    private = [(label, body) for label, body in blocks if label.endswith("PRIVATE KEY")]
    if not private:
        found = ", ".join(label for label, _ in blocks) or "an unfinished block"
        return f"private key holds {found} only; {_FORMS}"
    label, body = private[0]
    if label == "ENCRYPTED PRIVATE KEY" or body.startswith("Proc-Type:"):
        return f"private key is encrypted; {_FORMS}, not encrypted"
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    pem = "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return f"private key is a damaged {label} block; copy it again"
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return key
    return f"private key is of another kind ({type(key).__name__.lstrip('_')}); {_FORMS}"


def _text(path: Path, credentials_directory: Path | None) -> bytes:
    """Return the content of a key file, after a check of its mode.

    The file is opened without blocking, so that a pipe without a writer is refused at once, like all files that are not
    regular.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError([f"key file {path} cannot be read: {error.strerror}"]) from error
    try:
        # Check the open file, not the path, so that the checked file is the file that is read.
        status = os.fstat(descriptor)
        mode = status.st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError([f"key file {path} is not a regular file"])
        if mode & 0o077 and (mode & 0o022 or not is_secret_store(descriptor, path, credentials_directory)):
            fault = f"key file {path} has mode {stat.S_IMODE(mode):04o}, others can use it"
            raise ConfigError([f"{fault}; allowed: {_MODES}"])
        if status.st_size > _KEY_FILE_LIMIT_BYTES:
            raise ConfigError([f"key file {path} is larger than {_KEY_FILE_LIMIT_BYTES} bytes"])
        return os.read(descriptor, _KEY_FILE_LIMIT_BYTES)
    except OSError as error:
        raise ConfigError([f"key file {path} cannot be read: {error.strerror}"]) from error
    finally:
        os.close(descriptor)


def _pair(content: bytes) -> tuple[str, str] | str:
    """Return the name and the private key in a key file, or an error message."""
    # JSON errors contain the whole text, so they must not become the context of a raised error.
    try:
        answer: object = json.loads(content)
    except (ValueError, RecursionError):
        return "is not a JSON object"
    if not isinstance(answer, dict):
        return "is not a JSON object"
    fields = cast("dict[str, object]", answer)
    name, private_key = fields.get("name") or fields.get("id"), fields.get("privateKey")
    if not isinstance(name, str):
        return "has no text under name or id"
    return (name, private_key) if isinstance(private_key, str) else "has no text under privateKey"


_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
# Mount points in memory that all processes of a machine share.
_SHARED = re.compile(r"/(dev|dev/shm|run|run/lock|run/shm|run/user/\d+|tmp|var/tmp|var/run|var/lock)?")
_OCTAL = re.compile(r"\\([0-7]{3})")


def is_secret_store(descriptor: int, path: Path, credentials_directory: Path | None) -> bool:
    """Return whether an open file is in a place in which secrets are given to a service.

    Such places are the service manager's credentials folder, a read-only mount, and a mount in memory that is not
    shared. Files there belong to root, and the service may read them through its group or an access control list.
    """
    real = path.resolve()
    if credentials_directory is not None and real.is_relative_to(credentials_directory.resolve()):
        return True
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        return True
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return False
    return is_own_memory(real, mounts)


def is_own_memory(path: Path, mounts: str) -> bool:
    """Return whether a path is on an unshared mount in memory; `mounts` is the text of `/proc/self/mountinfo`."""
    found = ("/", "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), before.split()[4])
        # The file is on the mount with the longest matching path; of mounts with the same path, the last is visible.
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, after.split()[0])
    point, kind = found
    return kind in _IN_MEMORY and _SHARED.fullmatch(point) is None
