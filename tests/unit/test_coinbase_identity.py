"""A few refusals in a row stop an identity; concurrent and occasional ones do not."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reconciler_engine.coinbase.auth import Credentials
from reconciler_engine.coinbase.identity import ROUNDS, Identity
from reconciler_engine.errors import NotAuthorized, TokenRefused

KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def identity() -> Identity:
    return Identity(Credentials("k", KEY), "api.coinbase.com", lambda: 1_767_225_600_000)


def refuse(identity: Identity, sent_in: int | None = None, status: int = 401) -> type[Exception]:
    with pytest.raises((TokenRefused, NotAuthorized)) as refused:
        identity.refuse(NotAuthorized(status, "Unauthorized"), identity.sign("/p")[1] if sent_in is None else sent_in)
    return refused.type


def test_each_request_has_a_token_of_its_own(identity: Identity) -> None:
    tokens = [identity.sign("/p")[0]["authorization"].removeprefix("Bearer ") for _ in range(50)]
    nonces = {jwt.get_unverified_header(token)["nonce"] for token in tokens}
    assert len(set(tokens)) == len(nonces) == 50


def test_refusals_in_a_row_stop_it(identity: Identity) -> None:
    assert [refuse(identity) for _ in range(ROUNDS)] == [TokenRefused] * (ROUNDS - 1) + [NotAuthorized]
    assert identity.stopped
    with pytest.raises(NotAuthorized, match=r"not asked again; usual causes: .*clock.*name.*view permission"):
        identity.sign("/p")


def test_an_answer_in_between_starts_the_count_anew(identity: Identity) -> None:
    for _ in range(3 * ROUNDS):
        assert refuse(identity) is TokenRefused
        identity.accept()
    assert not identity.stopped


def test_refusals_of_calls_at_the_same_time_are_one(identity: Identity) -> None:
    rounds = [identity.sign("/p")[1] for _ in range(10)]
    assert {refuse(identity, sent_in) for sent_in in rounds} == {TokenRefused}
    assert not identity.stopped


def test_a_missing_scope_is_final_for_the_call_and_stops_after_as_many(identity: Identity) -> None:
    assert {refuse(identity, status=403) for _ in range(ROUNDS - 1)} == {NotAuthorized}
    assert not identity.stopped
    refuse(identity, status=403)
    assert identity.stopped
