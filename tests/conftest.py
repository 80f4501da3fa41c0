"""Hooks every test shares: coroutine tests run under trio, clocks can be virtual."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
import trio
import trio.testing
from hypothesis import settings
from redis import utils as redis_utils
from tests.cluster_servers import RealCluster, new_cluster

from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.embedded.binary import ServerPlan, find_binary
from reconciler_engine.store.embedded.socket_directory import socket_directory, socket_path

# The same examples in every run, and no verdict by the clock; new ones are found by
# `pytest --hypothesis-profile=search`.
settings.register_profile("repeatable", max_examples=50, derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1_000, deadline=None)
settings.load_profile("repeatable")

# Hundreds of processes of the product are started: each would compile every module anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# For each connection redis-py reads the metadata of its own package again, which takes longer than most tests do.
redis_utils.get_lib_version = functools.cache(redis_utils.get_lib_version)

# A shell's background job ignores Ctrl-C and so would all it starts, which tests send one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FIGURE = "figure"
CLIENTS = pytest.StashKey[list[TrioRedis]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the long runs are, and which chaos is played again."""
    group = parser.getgroup("long runs")
    group.addoption(
        "--chaos-seed", type=int, metavar="N", help="play this one seed of tests/chaos, in a world of its own"
    )
    group.addoption("--kills", type=int, default=1_000, metavar="N", help="random kills of the run that counts them")
    group.addoption("--rounds", type=int, default=200, metavar="N", help="endings of the runs that count them")
    group.addoption("--minutes", type=float, default=30.0, metavar="X", help="how long the soak runs")


@pytest.fixture
def tell_figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Put a line into the figures that a run ends with."""
    return lambda line: record_property(FIGURE, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of a run, whichever process measured them."""
    reports = (report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, []))
    lines = [value for report in reports for name, value in report.user_properties if name == FIGURE]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def mock_clock() -> trio.testing.MockClock:
    """A clock that stands still until the test moves it."""
    return trio.testing.MockClock()


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """A clock that jumps to the next deadline when all tasks wait; for in-memory fakes only."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Run `async def` tests with trio, under the clock fixture they ask for."""
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        clocks = [value for value in pyfuncitem.funcargs.values() if isinstance(value, trio.abc.Clock)]
        body = pyfuncitem.obj

        @functools.wraps(body)
        def run(**arguments: object) -> None:
            clients = pyfuncitem.stash.get(CLIENTS, [])
            trio.run(_run_with_clients, body, arguments, clients, clock=clocks[0] if clocks else None)

        pyfuncitem.obj = run
    yield


async def _run_with_clients(
    body: Callable[..., Awaitable[None]], arguments: dict[str, object], clients: list[TrioRedis]
) -> None:
    """Run a test; clients of its fixtures connect on use and are closed inside the run they belong to."""
    async with AsyncExitStack() as stack:
        for client in clients:
            await stack.enter_async_context(client)
        await body(**arguments)


class OwnServer:
    """A real server that a test may kill, stop and start again over the same data."""

    def __init__(self, plan: ServerPlan) -> None:
        self.plan = plan
        self.url = plan.url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it; `wait_serving` says when it serves."""
        self._process = subprocess.Popen((*self.plan.arguments(), *options))

    @property
    def pid(self) -> int | None:
        """Its process; None while there is none."""
        return None if self._process is None else self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def new_server(data_directory: Path) -> Iterator[OwnServer]:
    """Run a real server over this folder for the length of a block."""
    # RECONCILER_TEST_SERVER names another redis-server or valkey-server, such as one of 6.2.
    binary = Path(os.environ.get("RECONCILER_TEST_SERVER") or find_binary())
    plan = ServerPlan(binary, data_directory, socket_path(socket_directory(data_directory)))
    server = OwnServer(plan)
    server.start()
    try:
        trio.run(_wait_serving, server.url)
        yield server
    finally:
        server.kill()
        plan.socket.unlink(missing_ok=True)
        plan.socket.parent.rmdir()


@pytest.fixture(scope="session", autouse=True)
def own_data_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep commands without a data directory away from the user's own, which a running engine may have locked."""
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """One real server for the session, started as the product starts it: private unix socket, AOF on."""
    with new_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    """A real server for one test alone, which may kill it."""
    with new_server(tmp_path) as server:
        yield server


async def _wait_serving(url: str) -> None:
    async with TrioRedis.from_url(url) as client:
        await wait_serving(client, 10)


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """One real cluster for the session, for tests that leave it whole."""
    with new_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run contracts on a cluster as on one server."""
    contract = metafunc.definition.get_closest_marker("contract")
    if contract is not None and "redis_url" in metafunc.fixturenames:
        marks = [pytest.mark.cluster] if contract.kwargs.get("cluster_by_mark") else []
        metafunc.parametrize("redis_url", ["server", pytest.param("cluster", marks=marks)], indirect=True)


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """URL of a real server, or of a cluster where a contract asks for one, that holds no keys and knows no scripts."""
    if getattr(request, "param", "server") == "cluster":
        cluster: RealCluster = request.getfixturevalue("redis_cluster")
        cluster.clear()
        return cluster.url
    server: OwnServer = request.getfixturevalue("redis_server")
    with redis_py.Redis.from_url(server.url) as client:
        client.flushall()
        client.script_flush()
    return server.url


def server_urls(redis_url: str) -> list[str]:
    """The server of a URL by itself; of a cluster's URL, each server that it names."""
    scheme, _, places = redis_url.partition("+cluster://")
    return [f"{scheme}://{place}" for place in places.split(",")] if places else [redis_url]


def plain_client(redis_url: str, **options: Any) -> redis_py.Redis | redis_py.RedisCluster:
    """A client that is not ours, of a server or of a cluster."""
    kind = redis_py.RedisCluster if "+cluster" in redis_url else redis_py.Redis
    return kind.from_url(server_urls(redis_url)[0], **options)


@pytest.fixture
def redis(redis_url: str, request: pytest.FixtureRequest) -> TrioRedis:
    """A client of the real, empty server; for `async def` tests, which close it when they end."""
    client = TrioRedis.from_url(redis_url)
    request.node.stash.setdefault(CLIENTS, []).append(client)
    return client


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real candle files; see tests/README.md."""
    folder = Path(os.environ.get("RECONCILER_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "coinbase" / "MANIFEST.csv").is_file():
        pytest.skip(f"no candle files in {folder} (set RECONCILER_TEST_DATA); synthetic twins assert the same")
    return folder / "coinbase"
