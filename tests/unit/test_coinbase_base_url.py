"""Where requests may go."""

from __future__ import annotations

import pytest

from reconciler_engine.coinbase.base_url import BaseUrl


@pytest.mark.parametrize(
    ("text", "normal", "authority", "loopback"),
    [
        ("https://api.coinbase.com", "https://api.coinbase.com", "api.coinbase.com", False),
        ("https://API.coinbase.com/", "https://api.coinbase.com", "api.coinbase.com", False),
        ("https://api.coinbase.com:443", "https://api.coinbase.com", "api.coinbase.com", False),
        ("https://api.coinbase.com:8443", "https://api.coinbase.com:8443", "api.coinbase.com:8443", False),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("http://127.9.9.9", "http://127.9.9.9", "127.9.9.9", True),
        ("http://localhost:80/", "http://localhost", "localhost", True),
        ("http://[::1]:8080", "http://[::1]:8080", "[::1]:8080", True),
        ("https://10.0.0.7", "https://10.0.0.7", "10.0.0.7", False),
        ("https://localhost.example.com", "https://localhost.example.com", "localhost.example.com", False),
    ],
)
def test_allowed(text: str, normal: str, authority: str, loopback: bool) -> None:
    base = BaseUrl.parse(text, signed=True)
    assert (str(base), base.authority, base.loopback) == (normal, authority, loopback)


@pytest.mark.parametrize("text", ["http://simulator:8080", "http://10.0.0.7", "http://127.0.0.1.example.com"])
def test_plain_http_to_another_machine_is_for_requests_without_credentials(text: str) -> None:
    assert str(BaseUrl.parse(text, signed=False)) == text
    with pytest.raises(ValueError, match=r"base_url .*credentials need https"):
        BaseUrl.parse(text, signed=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.coinbase.com",
        "//api.coinbase.com",
        "ftp://api.coinbase.com",
        "unix:///tmp/x",
        "https://",
        "https://:443",
        "https://api.coinbase.com/api",
        "https://api.coinbase.com//",
        "https://api.coinbase.com?x",
        "https://api.coinbase.com/?",
        "https://api.coinbase.com#",
        "https://api.coinbase.com:0",
        "https://api.coinbase.com:99999",
        "https://api.coinbase.com:x",
        "https://api_coinbase..com",
        "https://-a.com",
        f"https://{'a' * 64}.com",
        f"https://{'a.' * 127}com",
        "https://api.coinbase.com ",
        "https://api.coin base.com",
        "https://api.coinbase.com\\@elsewhere.test",
        "https://api.coinbase.com\n",
        "https://münchen.de",
        "http://[::1",
        "https://[v1.x]",
    ],
)
def test_refused_with_the_form_that_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"base_url .*allowed: https://HOST"):
        BaseUrl.parse(text, signed=False)


@pytest.mark.parametrize(
    "text", ["https://canary:hunter2@api.coinbase.com", "https://canary@api.coinbase.com", "https://:hunter2@[x"]
)
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="base_url") as refused:
        BaseUrl.parse(text, signed=False)
    assert "hunter2" not in str(refused.value)
    assert "canary" not in str(refused.value)
