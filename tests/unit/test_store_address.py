"""Redis URLs: those understood, those refused, and no password gets out."""

from __future__ import annotations

import traceback

import pytest

from reconciler_engine.store.client.address import Address, TlsFiles
from reconciler_engine.store.client.trio_redis import TrioRedis


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("redis://", Address(), "redis://localhost:6379/0"),
        ("redis://cache:7000/3", Address("cache", 7000, db=3), "redis://cache:7000/3"),
        ("redis://cache?db=2", Address("cache", db=2), "redis://cache:6379/2"),
        ("redis://[::1]:7000", Address("::1", 7000), "redis://[::1]:7000/0"),
        ("redis://:p%40ss%2F@cache", Address("cache", password="p@ss/"), "redis://cache:6379/0"),
        ("redis://me:pw@cache", Address("cache", username="me", password="pw"), "redis://cache:6379/0"),
        ("redis://cache?username=me&password=p%2Bw", Address("cache", username="me", password="p+w"), None),
        ("unix:///run/r.sock", Address("", 0, "/run/r.sock"), "unix:///run/r.sock"),
        ("unix://:pw@/run/r.sock?db=1", Address("", 0, "/run/r.sock", 1, password="pw"), "unix:///run/r.sock?db=1"),
        ("rediss://cache", Address("cache", tls=TlsFiles()), "rediss://cache:6379/0"),
        (
            "rediss://cache?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_cert_reqs=required",
            Address("cache", tls=TlsFiles("/ca.pem", None, "/c.pem", "/k.pem")),
            None,
        ),
    ],
)
def test_urls(url: str, address: Address, shown: str | None) -> None:
    parsed = Address.parse(url)
    assert parsed == address
    if shown is not None:
        assert str(parsed) == shown


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://cache", "scheme must be redis://, rediss:// or unix://"),
        ("cache:6379", "scheme must be"),
        ("", "scheme must be"),
        ("redis://cache:port", "port must be a number from 1 to 65535"),
        ("redis://cache:0", "port must be"),
        ("redis://cache:70000", "port must be"),
        ("redis://:s3cret/tail@cache", "port must be"),
        ("redis://:s3cret#tail@cache", "fragment"),
        ("redis://:s3cret?tail=1@cache", "port must be|unknown option"),
        ("redis://[s3cret", "not a URL"),
        ("redis://cache/one", "database must be a number"),
        ("redis://cache/-1", "database must be a number"),
        ("redis://cache?db=x", "database must be a number"),
        ("redis://cache?timeout=5", "unknown option .* allows db, password, username;"),
        ("redis://cache?ssl_ca_certs=/x", "unknown option"),
        ("rediss://cache?ssl_cert_reqs=none", "ssl_cert_reqs must be 'required'"),
        ("rediss://cache?ssl_keyfile=/k", "ssl_keyfile needs ssl_certfile"),
        ("redis://me@cache", "a user name needs a password"),
        ("unix://run/r.sock", "three slashes"),
        ("unix://", "three slashes"),
        ("unix:///run/s3cret%00", "no zero byte"),
        ("redis://s3cret..cache", "host must be"),
        (f"redis://{'s3cret' * 11}", "host must be"),
        (f"redis://cache/{'9' * 5_000}", "database must be a number"),
    ],
)
def test_bad_urls_are_refused_by_part_without_repeating_them(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=f"^redis_url: .*({fault})") as caught:
        Address.parse(url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value)).replace(repr(url), "")


def test_no_password_in_what_is_shown() -> None:
    shown = Address.parse("rediss://me:s3cret@cache?ssl_password=s3cret2&ssl_certfile=/c.pem")
    assert "s3cret" not in repr(shown) + str(shown)
    assert "s3cret" not in repr(TrioRedis.from_url("redis://me:s3cret@cache"))


def test_a_certificate_file_that_is_none_is_refused_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = tmp_path_factory.mktemp("tls") / "none.pem"
    with pytest.raises(ValueError, match=r"ssl_ca_certs '.*none\.pem' .* cannot be read: .*No such file"):
        TrioRedis.from_url(f"rediss://cache?ssl_ca_certs={missing}")
    with pytest.raises(ValueError, match=r"ssl_certfile '.*none\.pem', .* cannot be used"):
        TrioRedis.from_url(f"rediss://cache?ssl_certfile={missing}")


@pytest.mark.parametrize(
    ("options", "fault"), [({"timeout_s": 0}, "timeout_s 0"), ({"max_connections": 0}, "at least 1")]
)
def test_bounds_of_a_client_are_checked(options: dict[str, int], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        TrioRedis.from_url("redis://cache", **options)
