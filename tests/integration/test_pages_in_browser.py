"""The pages in a real browser: no fault of a script, names and contrast as axe asks for them, nothing cut off."""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
import trio
from tests.unit.test_observe_readiness import budget, job, report, worker
from tests.unit.test_observe_readiness import engine as status

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import make_parts
from reconciler_engine.engine.roles.web import WebRole
from reconciler_engine.engine.status_writer import shown_settings
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.web.access import Access
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.coverage import Checked
from reconciler_engine.store.members import member_of

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install -e '.[browser]'")
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

pytestmark = pytest.mark.browser

EVIL = "<script>document.title='evil'</script><img src=x onerror=document.title='evil'>"
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
NOW = time.time_ns() // 1_000_000
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FRAMES = (Timeframe.M1, Timeframe.M5, Timeframe.H1, Timeframe.D1)
PATHS = ("", "ready", "coverage", "coverage?window=kept&unready=1", "series?name=AAA000-USD%3A1m", "coverage?page=2")


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Any]:
    """The system's Chromium with a profile of its own."""
    if not CHROMIUM.exists() or not DRIVER.exists():
        pytest.skip("apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe-core."""
    folders = [Path(folder) for folder in os.environ.get("NODE_PATH", "").split(":") if folder]
    found = [path for folder in folders if (path := folder / "axe-core" / "axe.min.js").exists()]
    if not found:
        pytest.skip("npm install --prefix ../node-clients axe-core, and name its node_modules in NODE_PATH")
    return found[0].read_text("utf-8")


def names(count: int) -> list[Series]:
    symbols = [f"{chr(65 + at % 26) * 3}{at:03}-USD" for at in range(count // len(FRAMES))]
    return [Series(symbol, frame) for symbol in symbols for frame in FRAMES]


class Pages:
    """The web role over series of a cache, in a thread of its own."""

    def __init__(self, redis_url: str, count: int) -> None:
        self._redis_url = redis_url
        self.count, self._series = count, names(count)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._ready = threading.Event()
        self._role: Any = None
        self._token: Any = None
        self._thread = threading.Thread(target=trio.run, args=(self._run,))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(120)
        return self

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._role.drain)
        self._thread.join(30)
        self._listener.close()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ExitStack() as stack:
            for one in (ours, theirs):
                stack.enter_context(one)
            async with TrioRedis.from_url(self._redis_url) as client:
                config = ReconciliationConfig.check({"symbols": "BTC-USD", "base_url": "http://exchange"})
                parts = make_parts(config, client, owns_server=False, consumer="test")
                await client.execute_command("FLUSHALL")
                await self._fill(parts, client)
                said = report(
                    said_at=time.monotonic() + 86_400,
                    settings=shown_settings(parts),
                    processes=(worker(name=EVIL), worker(role="feeder", state="failed", last_exit="SIGKILL")),
                    engine=status(
                        source="exchange", budget=budget(), written_at=NOW, queued={"live": 2},
                        jobs=(job(last_error=EVIL, next_tick=NOW + 90_000), job(name="verify", next_tick=NOW + 9_000)),
                        started_at=NOW - 5_000_000, grace_ms=15_000, max_unverified_ms=1_800_000,
                        completeness_slo=0.999,
                    ),
                )  # fmt: skip
                for one in (self._listener, theirs):
                    one.settimeout(0)
                self._role = WebRole(self._listener, theirs, Access((), None), client)
                ours.send(said.model_dump_json().encode())
                async with trio.open_nursery() as nursery:
                    await nursery.start(self._role.run)
                    self._ready.set()

    async def _fill(self, parts: Any, client: TrioRedis) -> None:
        """Note how each series stood, some of them with holes, and put candles of the first ones."""
        now = time.time_ns() // 1_000_000
        checked = []
        for at, series in enumerate(self._series):
            step = series.timeframe.step_ms
            stop = (now - 15_000) // step * step
            window = Interval(stop - 300 * step, stop)
            hole = Intervals([Interval(stop - 40 * step, stop - 30 * step)]) if at % 7 == 0 else NOTHING
            checked.append(Checked(series, window, hole, unverified=Intervals([Interval(stop - 20 * step, stop)])))
            if at < 100:
                slots = [slot for slot in window.grid(step) if not any(slot in one for one in hole)]
                members = {member_of(series, Candle(slot, 1.0, 2.0, 0.5, 1.5, 3.0)): slot for slot in slots}
                await client.zadd(parts.scope.candle_key(series), members)
        await parts.coverage.record(checked, now)
        if checked:
            lacking = '{"complete_from":null,"complete_through":null,"missing":9000,"checked_at":1}'
            await client.hset(parts.scope.key("coverage"), f"{EVIL}:1m", lacking)


@pytest.fixture(scope="module", params=[0, 16, 6_000])
def pages(request, redis_server) -> Iterator[Pages]:
    with Pages(redis_server.url, request.param) as served:
        yield served


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1_280])
@pytest.mark.parametrize("path", PATHS)
def test_each_page_is_whole_legible_and_named_for_everybody(pages, browser, axe, shots, path, width, scheme):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 1_000}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [media]})
    browser.get(pages.url + path)
    shots(browser, f"{pages.count}-{path.partition('?')[0] or 'status'}-{PATHS.index(path)}-{width}-{scheme}")
    faults = [line["message"] for line in browser.get_log("browser")]
    if path.startswith("series") and not pages.count:
        # No pass looks at this series: the answer is a refusal in plain words, and not a page.
        assert "400" in faults[0]
        return
    assert faults == []
    assert "evil" not in browser.title
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert violations(browser, axe) == []


def violations(browser: Any, axe: str) -> list[str]:
    browser.execute_script(axe)
    script = "const done = arguments[1]; axe.run(document, {runOnly: arguments[0]}).then(done)"
    found = browser.execute_async_script(script, RULES)["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}: {one['nodes'][0]['failureSummary']}" for one in found]


def test_axe_finds_contrast_and_names_that_are_wrong(pages, browser, axe):
    browser.get(pages.url)
    browser.execute_script(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<p id=pale>pale</p><input>');"
        "document.styleSheets[0].insertRule('#pale { color: #ccc; background: #fff }')"
    )
    found = {one.partition(":")[0] for one in violations(browser, axe)}
    assert {"color-contrast", "label"} <= found


def test_keys_alone_reach_the_content_the_choice_and_each_series(pages, browser):
    browser.get(f"{pages.url}coverage")
    keys, reached = webdriver.ActionChains(browser), []
    for _ in range(12):
        keys.send_keys(Keys.TAB).perform()
        keys.reset_actions()
        reached.append(browser.execute_script("return document.activeElement.textContent"))
    assert reached[:2] == ["to the content", "status"]
    if pages.count:
        assert reached[6].startswith("shown: 6 hours; choose others")
        assert any(name.endswith("-USD:1d") for name in reached)


@pytest.fixture(scope="session")
def shots(tmp_path_factory):
    """Keep a picture of the whole page, in the folder RECONCILER_SHOTS if that is set."""
    folder = Path(os.environ.get("RECONCILER_SHOTS") or tmp_path_factory.mktemp("shots"))

    def keep(browser: Any, name: str) -> None:
        height = browser.execute_script("return document.documentElement.scrollHeight")
        told = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssLayoutViewport"]
        clip = {"x": 0, "y": 0, "width": told["clientWidth"], "height": min(height, 4_000), "scale": 1}
        told = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        (folder / f"{name}.png").write_bytes(base64.b64decode(told["data"]))

    return keep
