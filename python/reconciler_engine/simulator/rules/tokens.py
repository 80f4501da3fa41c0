"""Checks the tokens of private requests as the exchange does."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from reconciler_engine.errors import ConfigError
from reconciler_engine.simulator.api_response import MISSING_SCOPE, UNAUTHORIZED, ApiRequest, ApiResponse

_ISSUERS = frozenset({"cdp", "coinbase-cloud"})
_HOST = "api.coinbase.com"
_SCOPE = "view"
_SEED_BYTES = 32
_OPTIONS: Any = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
}


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key whose signatures the exchange accepts.

    Attributes:
        name: Name of the key (`kid` and `sub` of its tokens).
        public_key: The public key, P-256 or Ed25519.
        scopes: Permissions of the key; candles and products need `view`.
    """

    name: str
    public_key: EllipticCurvePublicKey | Ed25519PublicKey
    scopes: frozenset[str] = frozenset({_SCOPE})

    @property
    def algorithm(self) -> str:
        """The only algorithm its tokens may name."""
        return "EdDSA" if isinstance(self.public_key, Ed25519PublicKey) else "ES256"

    @classmethod
    def of_private(cls, name: str, private_key: str, scopes: Iterable[str] = (_SCOPE,)) -> TrustedKey:
        """Return the public key of a private key: PEM (SEC1 or PKCS#8), or base64 of an Ed25519 seed.

        Raises:
            ValueError: The private key has another form; the message does not show it.
        """
        text = private_key.replace("\\n", "\n")
        key: object
        try:
            if "-----BEGIN" in text:
                key = load_pem_private_key(text.encode(), None)
            else:
                key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(text, validate=True)[:_SEED_BYTES])
        except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
            raise ValueError(f"private key of {name!r} is neither PEM nor base64 of an Ed25519 key") from None
        if isinstance(key, Ed25519PrivateKey):
            return cls(name, key.public_key(), frozenset(scopes))
        if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
            return cls(name, key.public_key(), frozenset(scopes))
        raise ValueError(f"private key of {name!r} is neither P-256 nor Ed25519")


def read_trusted_key(path: Path) -> TrustedKey:
    """Read a client's key file (`name` or `id`, and `privateKey`) and return its public key.

    Raises:
        ConfigError: The file cannot be read or is not a key file; the message never shows the key.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        name = content["name"] if "name" in content else content["id"]
        return TrustedKey.of_private(name, content["privateKey"])
    except OSError as error:
        raise ConfigError([f"key file {str(path)!r} cannot be read: {error.strerror}"]) from error
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ConfigError([f"key file {str(path)!r} is not a JSON object with name and privateKey"]) from None


class TokenVerifier:
    """Accepts a token if the exchange would.

    Times are compared with the exchange's clock. A refusal never states its reason.

    Args:
        keys: Keys whose signatures are accepted.
        leeway_s: Tolerance for a token's times (seconds).
    """

    def __init__(self, keys: Iterable[TrustedKey], *, leeway_s: float = 0) -> None:
        self._keys = {key.name: key for key in keys}
        self._leeway_s = leeway_s

    def verify(self, request: ApiRequest, now: int) -> str | ApiResponse:
        """Return the name of the key that signed, or the refusal; `now` is the exchange's time (ms UTC)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return UNAUTHORIZED
        try:
            key = self._keys[jwt.get_unverified_header(token).get("kid", "")]
            claims = jwt.decode(token, key.public_key, algorithms=[key.algorithm], options=_OPTIONS)
        except (jwt.PyJWTError, KeyError):
            return UNAUTHORIZED
        made_here = claims.get("sub") == key.name and claims.get("iss") in _ISSUERS
        in_time = self._check_times(claims, now / 1000)
        if not (made_here and in_time and _check_request(claims, request)):
            return UNAUTHORIZED
        return key.name if _SCOPE in key.scopes else MISSING_SCOPE

    def _check_times(self, claims: Mapping[str, Any], now_s: float) -> bool:
        begins, ends = (_read_number(claims.get(name)) for name in ("nbf", "exp"))
        if begins is None or ends is None:
            return False
        return begins <= now_s + self._leeway_s and ends > now_s - self._leeway_s


def _check_request(claims: Mapping[str, Any], request: ApiRequest) -> bool:
    """Return whether a token was made for this request's method, host and path (without the query)."""
    path = request.target.partition("?")[0]
    allowed = {f"{request.method} {host}{path}" for host in (_HOST, request.headers.get("host", _HOST))}
    uris = claims["uris"] if isinstance(claims.get("uris"), list) else [claims.get("uri")]
    return any(isinstance(uri, str) and uri in allowed for uri in uris)


def _read_number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
