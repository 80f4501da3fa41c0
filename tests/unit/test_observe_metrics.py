"""Counters: figures of many processes make one sum, and the names keep Prometheus' conventions."""

from __future__ import annotations

import re

import pytest

from reconciler_engine.observe import metrics
from reconciler_engine.observe.metrics import CATALOGUE, Metric, total


@pytest.fixture
def own_figures(monkeypatch):
    """This process' figures, empty for the length of a test."""
    monkeypatch.setattr(metrics, "_figures", {})


@pytest.mark.usefixtures("own_figures")
def test_a_counter_counts_by_its_labels_and_a_histogram_by_its_buckets():
    counter, waits = Metric("things_total", "", ("kind",)), Metric("wait_seconds", "", (), (1, 5))
    counter.add(2, "a")
    counter.add(3, "a")
    counter.add(1, "b")
    counter.add(0, "never")
    for seconds in (0.5, 1, 1.5, 7):
        waits.observe(seconds)
    assert metrics.figures() == {"things_total|a": [5], "things_total|b": [1], "wait_seconds": [2, 1, 1, 10.0]}


@pytest.mark.usefixtures("own_figures")
def test_figures_are_a_copy():
    counter = Metric("things_total", "")
    counter.add(1)
    before = metrics.figures()
    counter.add(1)
    assert (before, metrics.figures()) == ({"things_total": [1]}, {"things_total": [2]})


def test_processes_add_up_and_a_strange_one_is_left_out():
    parts = [{"a": [1.0], "h": [1.0, 0.0, 3.5]}, {"a": [2.0], "b": [1.0]}, {"h": [1.0, 1.0]}, {"h": [0.0, 2.0, 9.0]}]
    assert total(parts) == {"a": [3.0], "b": [1.0], "h": [1.0, 2.0, 12.5]}
    assert parts[0] == {"a": [1.0], "h": [1.0, 0.0, 3.5]}


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_names_and_labels_keep_the_conventions(metric):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_seconds" if metric.buckets else "_total")
    assert metric.help
    assert not metric.help.endswith(".")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert all(len(known) == len(metric.labels) for known in metric.known)
    assert {"symbol", "series", "timeframe", "pid", "name"}.isdisjoint(metric.labels)
