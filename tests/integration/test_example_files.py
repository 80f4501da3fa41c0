"""The files to take: alert rules, dashboard, unit and container file, held to the engine that they speak of."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.conftest import PATIENCE_S, clean_environment

from reconciler_engine.config.definitions import SETTINGS
from reconciler_engine.observe.objective import _BURNING

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "python" / "examples"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
RULES = (EXAMPLES / "rules.yml").read_text("utf-8")
UNIT = (EXAMPLES / "reconciler-engine.service").read_text("utf-8")
DASHBOARD = json.loads((EXAMPLES / "dashboard.json").read_text("utf-8"))
CONTAINER = [
    line.partition(" ")[::2]
    for line in re.sub(r"\\\n\s*", "", (EXAMPLES / "Containerfile").read_text("utf-8")).splitlines()
    if line and not line.startswith("#")
]
TOKEN = "canary-0123456789abcdef"
# Labels that Prometheus itself adds to each sample.
OF_TARGET = {"instance"}

ALERTS = re.findall(r"- alert: (\w+)\n\s+expr: '((?:[^']|'')*)'\n((?:(?!      - alert).*\n)*)", RULES)
PANELS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
SPOKEN = [
    *((name, expr, set(re.findall(r"\$labels\.(\w+)", told))) for name, expr, told in ALERTS),
    *((title, one["expr"], set(re.findall(r"{{(\w+)}}", one["legendFormat"]))) for title, one in PANELS),
]
SELECTOR = re.compile(r"(reconciler_\w+)(?:\{([^}]*)\})?")

# Values that let each alert fire and values that do not, as promtool spreads them over minutes.
CASES = {
    "ReconcilerAbsent": ("reconciler_ready", "_x60", "1x60"),
    "ReconcilerNotReady": ("reconciler_ready", "0x60", "1x60"),
    "ReconcilerDegraded": ("reconciler_degraded", "1x60", "1x10 0x50"),
    "ReconcilerReportOld": ("reconciler_report_age_seconds", "40x60", "2x60"),
    "ReconcilerRedisAway": ("reconciler_redis_up", "0x60", "1x60"),
    "ReconcilerNodesAway": ("reconciler_unreachable_series", "7x60", "0x60"),
    "ReconcilerSeriesNotReady": ('reconciler_series{state="lacking"}', "1x60", "1x10 0x50"),
    "ReconcilerUnverified": ('reconciler_unverified_since_timestamp_seconds{timeframe="1m"}', "-9000x60", "3000x60"),
    "ReconcilerContested": ('reconciler_unready_slots{reason="contested"}', "1x60", "0x60"),
    "ReconcilerBurnsFast": ('reconciler_slo_burn_rate{window="1h"}', "15x60", "14x60"),
    "ReconcilerBurns": ('reconciler_slo_burn_rate{window="24h"}', "4x60", "2x60"),
    "ReconcilerRunsFail": ('reconciler_ticks_total{job="verify",outcome="failed"}', "0+1x60", "0x60"),
    "ReconcilerScanOverdue": ('reconciler_job_last_success_timestamp_seconds{job="gap_scan"}', "0x60", "3000x60"),
    "ReconcilerExchangeAway": ('reconciler_exchange_breaker{state="gone"}', "1x60", "0x60"),
    "ReconcilerExchangeWithholds": ("reconciler_contradicted_answers_total", "0+1x60", "0x60"),
    "ReconcilerBudgetStarved": ("reconciler_budget_wait_seconds", "61x60", "5x60"),
    "ReconcilerFeederStopped": ('reconciler_feeder_series{state="stopped"}', "1x60", "0x60"),
    "ReconcilerSymbolsUnknown": ("reconciler_unknown_symbols", "1x60", "0x60"),
    "ReconcilerClockSkew": ("reconciler_clock_skew_seconds", "-2x60", "0.5x60"),
    "ReconcilerPostsDropped": ('reconciler_webhook_posts_total{outcome="dropped"}', "0+1x60", "0x60"),
}


def samples(text: str) -> dict[str, list[dict[str, str]]]:
    """The label sets of each metric of an exposition, under the names that are asked for."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def faults(expr: str, shown: set[str], live: dict[str, list[dict[str, str]]]) -> list[str]:
    """Return the series and labels that an expression or its text needs and the engine does not give."""
    told, labels = [], {*OF_TARGET}
    for name, selected in SELECTOR.findall(expr):
        if name not in live:
            return [f"{name} is not told"]
        labels.update(*live[name])
        for label, values in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', selected):
            known = {one.get(label) for one in live[name]}
            if label not in OF_TARGET:
                told += [f"{name} has not {label}={value}" for value in values.split("|") if value not in known]
    grouped = {label for inner in re.findall(r"by \(([^)]*)\)", expr) for label in inner.split(", ")}
    return told + [f"no label {label}" for label in sorted((grouped | shown) - labels)]


def all_faults(live: dict[str, list[dict[str, str]]]) -> list[str]:
    return [f"{name}: {fault}" for name, expr, shown in SPOKEN for fault in faults(expr, shown, live)]


def ask(url: str) -> str:
    with urlopen(Request(url, headers={"Authorization": f"Bearer {TOKEN}"}), timeout=PATIENCE_S) as answer:
        return str(answer.read(), "utf-8")


def is_healthy(port: int) -> bool:
    """Whether the container's own health check is content, on that port."""
    words = json.loads(dict(CONTAINER)["HEALTHCHECK"].partition("CMD ")[2])
    code = words[2].replace(":9464", f":{port}")
    environment = clean_environment(RECONCILER_LISTEN_TOKEN=TOKEN)
    return (
        subprocess.run([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL, check=False).returncode
        == 0
    )


@pytest.mark.slow
def test_a_live_engine_tells_all_that_rules_and_dashboard_speak_of(start_process, tmp_path):
    engine = start_process(
        "start", "--simulate", "--json", "--symbols", "BTC-USD", "--timeframes", "1m,5m", "--workers", "1",
        "--max-candles", "0", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"),
        environment=clean_environment(RECONCILER_LISTEN_TOKEN=TOKEN),
    )  # fmt: skip
    url = engine.wait_event("pages")["url"]
    engine.wait_event("pass done", job="full_reconcile")
    port = int(re.findall(r":(\d+)/", url)[0])
    deadline = time.monotonic() + PATIENCE_S
    while missing := all_faults(samples(ask(f"{url}metrics"))):
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)
    assert is_healthy(port)
    assert engine.stop() == 0
    assert not is_healthy(port)
    with pytest.raises(URLError):
        ask(url)


def test_a_name_a_label_or_a_value_that_the_engine_lacks_is_found():
    live = samples('reconciler_series{state="ready"} 1\n')
    assert faults('reconciler_series{state="ready"}', {"state"}, live) == []
    assert faults("reconciler_serie", set(), live) == ["reconciler_serie is not told"]
    assert faults('sum by (job) (reconciler_series{state=~"ready|red"})', {"lane"}, live) == [
        "reconciler_series has not state=red", "no label job", "no label lane",
    ]  # fmt: skip


def test_rules_and_product_call_the_same_burn_too_fast():
    found = re.findall(r'slo_burn_rate\{window="(\w+)"\} > ([\d.]+)', RULES)
    assert {window: float(bound) for window, bound in found} == _BURNING


def promtool(*words: str | Path) -> None:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool (tests/README.md says how to build it)"
)


@needs_promtool
def test_promtool_takes_the_rules_and_each_fires_for_its_fault_alone(tmp_path):
    assert len(ALERTS) == RULES.count("- alert:")
    missing = [
        {"series": 'reconciler_processes{role="worker"}', "values": "2x60"},
        {"series": 'reconciler_processes_up{role="worker"}', "values": "1x60"},
    ]
    worlds = [("ReconcilerProcessesMissing", missing, 1)]
    for name, (series, ill, well) in CASES.items():
        worlds += [(name, [{"series": series, "values": one}], int(one is ill)) for one in (ill, well)]
    assert {name for name, *_ in worlds} == {name for name, *_ in ALERTS}
    tests = [
        {"interval": "1m", "input_series": series, "promql_expr_test": [{
            "expr": f'count(ALERTS{{alertstate="firing", alertname="{name}"}}) or vector(0)',
            "eval_time": "55m", "exp_samples": [{"labels": "{}", "value": count}],
        }]}
        for name, series, count in worlds
    ]  # fmt: skip
    # YAML takes JSON as it is.
    cases = {"rule_files": [str(EXAMPLES / "rules.yml")], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "cases.yml").write_text(json.dumps(cases))
    promtool("check", "rules", EXAMPLES / "rules.yml")
    promtool("test", "rules", tmp_path / "cases.yml")


@needs_promtool
def test_promtool_takes_each_query_of_the_dashboard(tmp_path):
    asked = [target["expr"].replace("$__rate_interval", "5m") for _, target in PANELS]
    rules = [{"record": f"panel:query:{number}", "expr": expr} for number, expr in enumerate(asked)]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "queries.yml")


def test_the_dashboard_places_each_panel_beside_the_others():
    taken = [
        (where["x"] + x, where["y"] + y)
        for where in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(where["w"])
        for y in range(where["h"])
    ]
    assert len(taken) == len({*taken})
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_unit_starts_the_engine_by_options_and_settings_that_it_has(run_inside):
    command, *flags = re.findall(r"^ExecStart=/opt/reconciler/bin/reconciler-engine (.+)$", UNIT, re.MULTILINE)[
        0
    ].split()
    known = run_inside(command, "--help").out
    assert command == "start"
    assert all(flag in known for flag in flags if flag.startswith("--"))
    assert {*re.findall(r"RECONCILER_([A-Z_]+)=", UNIT)} <= {name.upper() for name in SETTINGS}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_takes_the_unit_and_calls_it_little_exposed(tmp_path):
    program = Path(sys.executable).with_name("reconciler-engine")
    unit = tmp_path / "reconciler-engine.service"
    unit.write_text(UNIT.replace("/opt/reconciler/bin/reconciler-engine", str(program)))
    # Without the faults of the machine's own units, which it is ordered after.
    verify = ["systemd-analyze", "verify", "--recursive-errors=no", unit]
    verified = subprocess.run(verify, capture_output=True, text=True, check=False)
    told = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert (verified.returncode, told) == (0, [])
    words = ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=30", unit]
    judged = subprocess.run(words, capture_output=True, text=True, check=False)
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert (judged.returncode, float(exposure) < 3) == (0, True)


def test_the_container_file_speaks_of_the_package_as_it_is():
    said = {word: [text for kind, text in CONTAINER if kind == word] for word, _ in CONTAINER}
    pythons = [text for text in said["FROM"] if "/python:" in text]
    assert all("-slim-" in text for text in said["FROM"])
    for text in pythons:
        version = re.findall(r"python:([\d.]+)-", text)[0]
        assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    for text in said["COPY"]:
        if not text.startswith("--from"):
            assert all((ROOT / name).exists() for name in text.split()[:-1])
    (extra,) = re.findall(r"'\.\[(\w+)\]'", " ".join(said["RUN"]))
    assert extra in PROJECT["optional-dependencies"]
    named = {*re.findall(r"RECONCILER_([A-Z_]+)=", " ".join(said["ENV"]))}
    assert named == {"DATA_DIR", "LISTEN"} <= {name.upper() for name in SETTINGS}
    (port,) = said["EXPOSE"]
    assert f"RECONCILER_LISTEN={SETTINGS['listen'].unset}" in " ".join(said["ENV"])
    assert str(SETTINGS["listen"].unset).endswith(f":{port}")
    assert f":{port}/livez" in said["HEALTHCHECK"][0]
    (user,) = said["USER"]
    assert f"--uid {user} " in " ".join(said["RUN"])
    assert int(user) > 0
    assert json.loads(said["ENTRYPOINT"][0])[0] in PROJECT["scripts"]
    assert json.loads(said["CMD"][0]) == ["start", "--json"]
