"""Access to the pages: requests that are let in, and answers to those that are not."""

from __future__ import annotations

import pytest

from reconciler_engine.http_server import Request
from reconciler_engine.observe.web.access import Access
from reconciler_engine.observe.web.listen import ListenAddress, check_host, check_token, exposure_faults

TOKEN = "canary-0123456789abcdef"


def ask(access: Access, method: str = "GET", **headers: str):
    refusal = access.refuse(Request(method, "/", {"host": "localhost:9464", **headers}))
    return None if refusal is None else refusal.status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_nothing_but_get_and_head(method):
    refusal = Access((), None).refuse(Request(method, "/", {"host": "localhost"}))
    assert refusal is not None
    assert (refusal.status, refusal.headers[1:], refusal.closes) == (405, (("allow", "GET, HEAD"),), True)
    assert ask(Access((), None), "HEAD") is None


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:9464", "LOCALHOST:1", "localhost.", "127.0.0.1:9464", "192.168.7.7", "[::1]:9464",
        "[::1]",
        "engine-1", "Engine-1.Internal:80",
    ],
)  # fmt: skip
def test_addresses_and_known_names_are_let_in(host):
    assert ask(Access(["engine-1", "engine-1.internal"], None), host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example:9464",
        "127.0.0.1.evil.example",
        "engine-10",
        "a:b:c",
        "localhost:x",
        "é",
    ],
)
def test_a_name_that_is_not_ours_is_turned_away(host):
    assert ask(Access(["engine-1"], None), host=host) == 421
    assert ask(Access(["engine-1"], TOKEN), host=host, authorization=f"Bearer {TOKEN}") == 421


def test_a_request_that_can_name_no_host_is_let_in():
    assert Access((), None).refuse(Request("GET", "/livez", {})) is None
    refusal = Access((), TOKEN).refuse(Request("GET", "/livez", {}))
    assert refusal is not None
    assert refusal.status == 401


def test_a_stranger_is_not_told_the_names_that_are_served():
    refusal = Access(["engine-1.internal"], None).refuse(Request("GET", "/", {"host": "evil.example"}))
    assert refusal is not None
    assert refusal.body == b"this host is not served; see listen_hosts\n"


def test_a_token_must_be_borne_in_full():
    access = Access((), TOKEN)
    assert ask(access, authorization=f"Bearer {TOKEN}") is None
    assert ask(access, authorization=f"bearer {TOKEN}") is None
    for wrong in ("", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer é"):
        assert ask(access, authorization=wrong) == 401
    assert ask(access) == 401
    assert TOKEN not in repr(access)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9500", ListenAddress("127.0.0.1", 9500)),
        ("localhost:1", ListenAddress("127.0.0.1", 1)),
        ("0.0.0.0:9464", ListenAddress("0.0.0.0", 9464)),
        ("127.0.0.1:0", ListenAddress("127.0.0.1", 0)),
        ("[::1]:9464", ListenAddress("::1", 9464)),
        (" off ", None),
        ("OFF", None),
        ("0", None),
    ],
)
def test_an_address_is_read(text, address):
    assert ListenAddress.parse(text) == address


@pytest.mark.parametrize(
    "text", ["", "x", "example.com:80", "::1:80", "[::1]", "127.0.0.1", "127.0.0.1:", ":80", "1.2.3.4:65536", "-1", "٣"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        ListenAddress.parse(text)


def test_an_address_is_written_as_it_is_read():
    for text in ("127.0.0.1:9464", "[::1]:0"):
        assert str(ListenAddress.parse(text)) == text


@pytest.mark.parametrize("token", ["", "short", "x" * 257, "with space 0123456789", "sixteen-chars-é0"])
def test_a_token_that_is_none_is_refused_and_not_repeated(token):
    with pytest.raises(ValueError, match=r"^too short, too long, or other characters$"):
        check_token(token)


@pytest.mark.parametrize("name", ["", "-a", "a..b", "a:80", "a/b", "a b", "*"])
def test_a_host_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="is not a name of a machine"):
        check_host(name)


def test_others_may_ask_only_with_a_token():
    everywhere = ListenAddress("0.0.0.0", 9464)
    (fault,) = exposure_faults(everywhere, " (from --listen)", has_token=False)
    assert fault == (
        "listen '0.0.0.0:9464' (from --listen): other machines can ask there, so listen_token must be set; "
        "allowed without: 127.0.0.1:PORT, [::1]:PORT, off"
    )
    assert exposure_faults(everywhere, "", has_token=True) == []
    for harmless in (None, ListenAddress(), ListenAddress("::1", 1), ListenAddress("127.8.8.8", 1)):
        assert exposure_faults(harmless, "", has_token=False) == []
