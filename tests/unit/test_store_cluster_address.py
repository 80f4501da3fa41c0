"""URLs of clusters and of primaries behind Sentinels, and the map of addresses that cannot be reached."""

from __future__ import annotations

import pytest

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.store.client.address import Address, TlsFiles
from reconciler_engine.store.client.cluster_address import (
    ClusterAddress,
    SentinelAddress,
    parse_address,
    parse_address_map,
)
from reconciler_engine.store.client.trio_redis import TrioRedis

PAIRS = "a:1=b:2,c=d"


@pytest.mark.parametrize(
    ("url", "seeds", "server", "shown"),
    [
        (
            "redis+cluster://h1:7000,h2:7001",
            (("h1", 7000), ("h2", 7001)),
            Address("h1", 7000),
            "redis+cluster://h1:7000,h2:7001",
        ),
        ("redis+cluster://h1", (("h1", 6379),), Address("h1"), "redis+cluster://h1:6379"),
        ("redis+cluster://[::1]:7,h/0", (("::1", 7), ("h", 6379)), Address("::1", 7), "redis+cluster://[::1]:7,h:6379"),
        (
            "rediss+cluster://me:p%2Cw%40@h1:7000,h2:7001?ssl_ca_certs=/ca.pem",
            (("h1", 7000), ("h2", 7001)),
            Address("h1", 7000, username="me", password="p,w@", tls=TlsFiles("/ca.pem")),
            "rediss+cluster://h1:7000,h2:7001",
        ),
    ],
)
def test_addresses_of_clusters(url, seeds, server, shown):
    address = parse_address(url)
    assert address == ClusterAddress(server, {}, seeds)
    assert str(address) == shown
    assert address.reached(("other", 5)).password == server.password
    assert str(address.reached(("other", 5))) == f"redis{'' if server.tls is None else 's'}://other:5/0"


@pytest.mark.parametrize(
    ("url", "sentinels", "service", "server", "shown"),
    [
        (
            "redis+sentinel://h1,h2:26380/cache/3",
            (Address("h1", 26379), Address("h2", 26380)),
            "cache",
            Address(db=3),
            "redis+sentinel://h1:26379,h2:26380/cache/3",
        ),
        (
            "redis+sentinel://me:pw@h1/my%20cache?sentinel_username=watch&sentinel_password=x%40y",
            (Address("h1", 26379, username="watch", password="x@y"),),
            "my cache",
            Address(username="me", password="pw"),
            "redis+sentinel://h1:26379/my%20cache/0",
        ),
        (
            "rediss+sentinel://:pw@h1:1/cache?ssl_ca_certs=/ca.pem",
            (Address("h1", 1, tls=TlsFiles("/ca.pem")),),
            "cache",
            Address(password="pw", tls=TlsFiles("/ca.pem")),
            "rediss+sentinel://h1:1/cache/0",
        ),
    ],
)
def test_addresses_behind_sentinels(url, sentinels, service, server, shown):
    address = parse_address(url)
    assert address == SentinelAddress(server, {}, sentinels, service)
    assert str(address) == shown
    assert address.reached(("other", 5)).db == server.db


@pytest.mark.parametrize("scheme", ["redis+cluster", "redis+sentinel"])
def test_announced_addresses_give_way_to_those_of_the_map(scheme):
    address = parse_address(f"{scheme}://h/{'s' if 'sentinel' in scheme else ''}?address_map={PAIRS}")
    assert not isinstance(address, Address)
    found = [address.reached(place) for place in (("a", 1), ("a", 2), ("c", 9), ("d", 9))]
    assert [(one.host, one.port) for one in found] == [("b", 2), ("a", 2), ("d", 9), ("d", 9)]


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis+clusters://h", "scheme must be one of redis://, .*, redis[+]cluster://"),
        ("redis+cluster://h1,,h2", "1 to 64 hosts are written host:port,host:port"),
        ("redis+cluster://", "1 to 64 hosts"),
        ("redis+cluster://" + "h," * 64 + "h", "1 to 64 hosts"),
        ("redis+cluster://s3cret:s3cret@h1:port", "port must be a number from 1 to 65535"),
        ("redis+cluster://h1:7000/2", "a cluster has one database; allowed: none, or 0"),
        ("redis+cluster://h1?db=1", "a cluster has one database"),
        ("redis+cluster://h1?sentinel_password=s3cret", "for redis[+]sentinel:// alone"),
        ("redis+cluster://h1?ssl_ca_certs=/x", "unknown option in the query"),
        ("redis+cluster://:s3cret#tail@h1", "fragment"),
        ("redis+sentinel://h1:26379", "Sentinels need the name of a service: redis[+]sentinel://host:26379/SERVICE/DB"),
        ("redis+sentinel://h1/a/0/c", "need the name of a service"),
        ("redis+sentinel://h1/cache/one", "database must be a number"),
        ("redis+sentinel://h1/cache?sentinel_username=me", "a user name needs a password"),
        ("redis+cluster://h1?address_map=a", "'a' must be HOST:PORT=HOST:PORT or HOST=HOST"),
        ("redis+cluster://h1?address_map=a:1=b", "'a:1=b' must be"),
        ("redis+cluster://h1?address_map=a:1=b:70000", "'b:70000' is neither HOST:PORT nor HOST"),
        ("redis+cluster://h1?address_map=a=b,a=c", "'a=c' gives an announced address a second time"),
    ],
)
def test_refused_urls_are_not_repeated(url, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        TrioRedis.from_url(url)
    assert "s3cret" not in str(caught.value)


def test_addresses_of_version_six_are_mapped_too():
    assert parse_address_map(["[::1]:6379=[::2]:7000"]) == {("::1", 6379): ("::2", 7000)}


def test_the_settings_of_redis_go_with_its_url():
    config = ReconciliationConfig.check(
        {
            "redis_url": "redis+sentinel://h1/cache",
            "redis_address_map": PAIRS,
            "redis_sentinel_username": "watch",
            "redis_sentinel_password": "p&w",
        }
    )
    assert parse_address(str(config.cache_url)) == SentinelAddress(
        Address(),
        parse_address_map(PAIRS.split(",")),
        (Address("h1", 26379, username="watch", password="p&w"),),
        "cache",
    )
    assert "p&w" not in repr(config)


def test_one_server_takes_none_of_them():
    config = ReconciliationConfig.check({"redis_url": "redis://h1", "redis_address_map": PAIRS})
    assert config.cache_url == "redis://h1"
