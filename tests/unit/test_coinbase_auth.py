"""Keys in every form users have them, and tokens that the exchange would take."""

from __future__ import annotations

import base64
import copy
import json
import os
import pickle
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from reconciler_engine.coinbase import auth
from reconciler_engine.coinbase.auth import Credentials
from reconciler_engine.errors import ConfigError

NAME = "organizations/6b3f8e2a-0000-4000-8000-000000000000/apiKeys/9d1c7b5e-0000-4000-8000-00000000c0de"
NOW = 1_767_225_600_999

EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
SEED = ED_KEY.private_bytes_raw()
PUBLIC = ED_KEY.public_key().public_bytes_raw()


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, form: PrivateFormat) -> str:
    secret: KeySerializationEncryption = NoEncryption()
    return key.private_bytes(Encoding.PEM, form, secret).decode()


SEC1 = pem(EC_KEY, PrivateFormat.TraditionalOpenSSL)
PKCS8 = pem(EC_KEY, PrivateFormat.PKCS8)
ED_PKCS8 = pem(ED_KEY, PrivateFormat.PKCS8)
PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param(SEC1, EC_KEY, id="SEC1"),
        pytest.param(PKCS8, EC_KEY, id="PKCS8"),
        pytest.param(ED_PKCS8, ED_KEY, id="Ed25519 PKCS8"),
        pytest.param(base64.b64encode(SEED).decode(), ED_KEY, id="32 bytes"),
        pytest.param(base64.b64encode(SEED + PUBLIC).decode(), ED_KEY, id="64 bytes"),
        pytest.param(base64.b64encode(SEED + PUBLIC).decode() + "\n", ED_KEY, id="64 bytes and a line end"),
        pytest.param(SEC1.replace("\n", "\\n"), EC_KEY, id="line ends spelled out"),
        pytest.param(SEC1.replace("\n", "\\\\n"), EC_KEY, id="line ends spelled out twice"),
        pytest.param(PKCS8.replace("\n", "\\\\r\\\\n"), EC_KEY, id="both line ends spelled out twice"),
        pytest.param(SEC1.replace("\n", "\\r\\n"), EC_KEY, id="CRLF spelled out"),
        pytest.param(SEC1.replace("\n", "\r\n"), EC_KEY, id="CRLF"),
        pytest.param(SEC1.replace("\n", " "), EC_KEY, id="on one line with spaces"),
        pytest.param(SEC1.replace("\n", ""), EC_KEY, id="on one line"),
        pytest.param(PKCS8.replace("\n", ""), EC_KEY, id="PKCS8 on one line"),
        pytest.param(f'"{SEC1}"', EC_KEY, id="quoted"),
        pytest.param(f"  \n{SEC1}\n\n", EC_KEY, id="white space around"),
        pytest.param(PARAMETERS + SEC1, EC_KEY, id="parameters first"),
    ],
)
def test_each_form_of_a_key_signs(text: str, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    credentials = Credentials(NAME, text)
    algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "EdDSA"
    token = credentials.token("GET", "api.coinbase.com", "/api/v3/brokerage/x", now=NOW, nonce="ab12")
    claims = jwt.decode(
        token, key.public_key(), algorithms=[algorithm], options={"verify_exp": False, "verify_nbf": False}
    )
    assert claims == {
        "sub": NAME,
        "iss": "cdp",
        "nbf": 1_767_225_600,
        "exp": 1_767_225_720,
        "uri": "GET api.coinbase.com/api/v3/brokerage/x",
    }
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT", "kid": NAME, "nonce": "ab12"}


def test_the_uri_claim_is_the_hosts_own() -> None:
    token = Credentials(NAME, SEC1).token("GET", "127.0.0.1:8080", "/p", now=NOW, nonce="a")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["uri"] == "GET 127.0.0.1:8080/p"


RSA = pem(rsa.generate_private_key(65_537, 1_024), PrivateFormat.PKCS8)
ENCRYPTED = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
OLD_ENCRYPTED = EC_KEY.private_bytes(
    Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x")
).decode()
PUBLIC_PEM = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
OTHER_CURVE = pem(ec.generate_private_key(ec.SECP384R1()), PrivateFormat.TraditionalOpenSSL)
LONGEST = max(SEC1.split("\n"), key=len)
DAMAGED = SEC1.replace(LONGEST, LONGEST[::-1])
BAD_KEYS = [
    pytest.param("", "has an unknown form", id="empty"),
    pytest.param("hunter2canary", "has an unknown form", id="no base64"),
    pytest.param("aXvB5mT0qYzR8cW3nL6kJ1hG4fD7sPoE", "legacy API secret", id="legacy secret"),
    pytest.param(base64.b64encode(SEED[:31]).decode(), "has an unknown form", id="31 bytes"),
    pytest.param(base64.b64encode(SEED + PUBLIC[::-1]).decode(), "halves do not belong together", id="mixed halves"),
    pytest.param(SEC1[:60], "holds an unfinished block only", id="cut"),
    pytest.param(DAMAGED, "damaged EC PRIVATE KEY block", id="damaged"),
    pytest.param(SEC1.replace("EC PRIVATE", "PRIVATE"), "damaged PRIVATE KEY block", id="wrong label"),
    pytest.param(PUBLIC_PEM, "holds PUBLIC KEY only", id="public"),
    pytest.param(ENCRYPTED, "is encrypted", id="encrypted"),
    pytest.param(OLD_ENCRYPTED, "is encrypted", id="encrypted, old style"),
    pytest.param(RSA, "of another kind (RSAPrivateKey)", id="RSA"),
    pytest.param(OTHER_CURVE, "of another kind (ECPrivateKey)", id="another curve"),
]


@pytest.mark.parametrize(("text", "said"), BAD_KEYS)
def test_a_key_of_no_use_is_refused_and_never_shown(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Credentials(NAME, text)
    assert said in str(refused.value)
    secret_parts = [line for line in text.split("\n") if len(line) > 8 and "---" not in line]
    shown = everything_shown(refused.value)
    assert not [part for part in secret_parts if part in shown]


def everything_shown(error: BaseException | None) -> str:
    """An error's text, attributes and traceback, the variables of our frames in it, and those of its causes."""
    shown = ""
    while error is not None:
        frames = [
            frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == auth.__file__
        ]
        shown += "".join(repr(frame.f_locals) for frame in frames)
        shown += "".join(traceback.format_exception(error)) + repr(error.args) + repr(vars(error))
        shown += "".join(repr(getattr(error, name, "")) for name in ("doc", "object"))
        error = error.__cause__ or error.__context__
    return shown


@pytest.mark.parametrize("name", ["", " a", "a\n", "é", "x" * 257])
def test_a_key_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="key name is not printable text"):
        Credentials(name, SEC1)


def test_name_and_key_exchanged_are_told_and_not_shown() -> None:
    with pytest.raises(ConfigError) as refused:
        Credentials(SEC1, NAME)
    assert [fault.partition(";")[0] for fault in refused.value.faults] == [
        "key name holds a private key",
        "private key has an unknown form (a legacy API secret cannot be used)",
    ]
    assert LONGEST not in everything_shown(refused.value)


def test_credentials_show_neither_key_nor_whole_name() -> None:
    credentials = Credentials(NAME, SEC1)
    assert repr(credentials) == str(credentials) == "Credentials(...c0de, ES256)"
    assert f"{credentials}" == "Credentials(...c0de, ES256)"


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_credentials_are_not_copied(take: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="are not copied"):
        take(Credentials(NAME, SEC1))


def key_file(folder: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "cdp_api_key.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
@pytest.mark.parametrize(
    "content",
    [
        {"name": NAME, "privateKey": SEC1},
        {"id": NAME, "privateKey": base64.b64encode(SEED + PUBLIC).decode()},
        {"name": NAME, "privateKey": SEC1, "principal": "x", "createTime": "2025", "scopes": ["view"], "enabled": True},
        {"name": "", "id": NAME, "privateKey": SEC1},
    ],
)
def test_a_key_file(tmp_path: Path, content: dict[str, object], mode: int) -> None:
    assert Credentials.read(key_file(tmp_path, json.dumps(content), mode)).name == NAME


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o610])
def test_a_key_file_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, json.dumps({"name": NAME, "privateKey": SEC1}), mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}, others can use it; allowed: 0600"):
        Credentials.read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a JSON object"),
        (b'{"canary', "is not a JSON object"),
        (b'["canary"]', "is not a JSON object"),
        (b"\xffcanary", "is not a JSON object"),
        (b'{"privateKey":"canary"}', "no text under name or id"),
        (b'{"name":"a"}', "no text under privateKey"),
        (b'{"name":"a","privateKey":7}', "no text under privateKey"),
        (b'{"name":"a","privateKey":"canary"}', "private key has an unknown form"),
        (b'{"name":"a","privateKey":"' + b"canary" * 20_000 + b'"}', "larger than 65536 bytes"),
        (b"[" * 60_000, "is not a JSON object"),
    ],
)
def test_a_key_file_of_another_form_is_refused_and_never_shown(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Credentials.read(key_file(tmp_path, content))
    assert said in str(refused.value)
    assert "cdp_api_key.json" in str(refused.value)
    assert "canary" not in everything_shown(refused.value)


@pytest.mark.parametrize("mode", [0o440, 0o444, 0o644])
def test_a_service_managers_credentials_may_be_read_by_others(tmp_path: Path, mode: int) -> None:
    below = tmp_path / "credentials"
    below.mkdir()
    path = key_file(below, json.dumps({"name": NAME, "privateKey": SEC1}), mode)
    assert Credentials.read(path, credentials_directory=below).name == NAME
    # By a link, as orchestrators publish them, and not beside the folder.
    link = tmp_path / "link"
    link.symlink_to(path)
    assert Credentials.read(link, credentials_directory=below).name == NAME
    outside = key_file(tmp_path, json.dumps({"name": NAME, "privateKey": SEC1}), mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}.*allowed: 0600 and less; or"):
        Credentials.read(outside, credentials_directory=below)


@pytest.mark.parametrize("mode", [0o460, 0o646, 0o602])
def test_a_key_file_that_others_can_write_is_refused_everywhere(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, json.dumps({"name": NAME, "privateKey": SEC1}), mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}"):
        Credentials.read(path, credentials_directory=tmp_path)


@pytest.mark.parametrize(("flags", "readable"), [(os.ST_RDONLY, True), (0, False)])
def test_a_key_on_a_mount_that_nobody_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, readable: bool
) -> None:
    path = key_file(tmp_path, json.dumps({"name": NAME, "privateKey": SEC1}), 0o644)
    monkeypatch.setattr(auth, "_MOUNTS", tmp_path / "none")
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_flag=flags))
    if readable:
        assert Credentials.read(path).name == NAME
        return
    with pytest.raises(ConfigError, match="has mode 0644"):
        Credentials.read(path)


def test_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Credentials.read(tmp_path / "absent")
    with pytest.raises(ConfigError, match="is not a regular file"):
        Credentials.read(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="is not a regular file"):
        Credentials.read(tmp_path / "pipe")


@pytest.mark.parametrize(
    "secret",
    [pem(EC_KEY, PrivateFormat.TraditionalOpenSSL), base64.b64encode(SEED).decode()],
    ids=["ec", "ed25519"],
)
def test_what_is_handed_over_signs_as_the_same_identity(secret: str) -> None:
    mine = Credentials(NAME, secret)
    message = json.loads(json.dumps(mine.hand_over()))
    theirs = Credentials(**message)
    assert (theirs.name, theirs.algorithm, theirs.identity) == (mine.name, mine.algorithm, mine.identity)
    token = theirs.token("GET", "api.coinbase.com", "/x", now=NOW, nonce="n")
    public = (EC_KEY if mine.algorithm == "ES256" else ED_KEY).public_key()
    claims = jwt.decode(token, public, algorithms=[mine.algorithm], options={"verify_exp": False, "verify_nbf": False})
    assert claims["sub"] == NAME


def test_an_identity_is_one_keys_own_and_does_not_name_it() -> None:
    secret = pem(EC_KEY, PrivateFormat.PKCS8)
    first, second = Credentials(NAME, secret), Credentials(f"{NAME}2", secret)
    assert first.identity == Credentials(NAME, secret).identity
    assert first.identity.name != second.identity.name
    assert re.fullmatch(r"key-[0-9a-f]{16} key-[0-9a-f]{16}-[0-9a-f]{16}", " ".join(first.identity))


def test_a_key_that_was_replaced_under_its_name_keeps_the_budget_and_not_the_breaker() -> None:
    first, second = (
        Credentials(NAME, pem(EC_KEY, PrivateFormat.PKCS8)),
        Credentials(NAME, pem(ED_KEY, PrivateFormat.PKCS8)),
    )
    assert first.identity.name == second.identity.name
    assert first.identity.key != second.identity.key
