"""Proxies and authorities as settings write them, and the places where others may read a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler_engine.coinbase.auth import is_own_memory
from reconciler_engine.coinbase.route import Proxy, Route
from reconciler_engine.errors import ConfigError

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
25 22 0:23 / /tmp rw,nosuid shared:3 - tmpfs tmpfs rw
26 22 0:24 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
27 26 0:25 / /run/user/1000 rw,nosuid - tmpfs tmpfs rw
28 22 0:26 / /etc/keys rw,relatime - tmpfs tmpfs rw,size=1024k
29 22 0:27 / /etc/my\040keys rw - ramfs none rw
30 28 8:1 /srv /etc/keys/disk rw - ext4 /dev/sda1 rw
31 26 0:28 / /run/secrets rw - tmpfs tmpfs rw
""".strip()


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/etc/keys/key.json", True),
        ("/etc/keys/..data/key.json", True),
        ("/etc/my keys/key.json", True),
        ("/run/secrets/key", True),
        ("/etc/keys/disk/key.json", False),
        ("/etc/keysmith/key.json", False),
        ("/home/x/key.json", False),
        ("/tmp/key.json", False),
        ("/run/reconciler/key.json", False),
        ("/run/user/1000/key.json", False),
    ],
)
def test_a_mount_in_memory_is_a_secrets_own_or_everybodys(path, own):
    assert is_own_memory(Path(path), MOUNTS) is own


@pytest.mark.parametrize(
    ("text", "url", "login"),
    [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("https://Proxy.example/", "https://proxy.example", None),
        ("http://user:p%40ss@10.0.0.7:8080", "http://10.0.0.7:8080", ("user", "p@ss")),
        ("http://user@[::1]:8080", "http://[::1]:8080", ("user", "")),
    ],
)
def test_a_proxy(text, url, login):
    proxy = Proxy.parse(text)
    assert (proxy.url, proxy.login) == (url, login)
    assert "p@ss" not in f"{proxy}{proxy!r}"
    assert "user" not in f"{proxy}{proxy!r}"


@pytest.mark.parametrize(
    "text",
    ["", "proxy:3128", "socks5://proxy:1080", "http://", "http://proxy:0", "http://proxy:99999", "http://proxy/path",
     "http://proxy?x=1", "http://pro xy", "http://[proxy", "http://canary:canary@"],
)  # fmt: skip
def test_a_proxy_of_another_form_is_refused_and_not_repeated(text):
    with pytest.raises(ValueError, match="allowed: http://") as refused:
        Proxy.parse(text)
    assert "canary" not in str(refused.value)


def test_a_route_says_how_it_goes():
    assert str(Route()) == ""
    assert str(Route(proxy=Proxy.parse("http://u:p@proxy:3128"))) == "through http://***@proxy:3128"
    assert str(Route(Path("ca.pem"), Proxy("http://proxy"))) == "through http://proxy, certificates by ca.pem"


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), (b"", "no certificate"), (b"x", "no certifi")])
def test_a_file_of_authorities_that_holds_none_is_refused(tmp_path, content, said):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"ca_file {file}: .*{said}"):
        Route(file).tls()
    assert Route().tls() is None
