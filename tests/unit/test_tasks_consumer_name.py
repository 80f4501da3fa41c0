"""Names of consumers: unique, and telling when their process is gone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from reconciler_engine.engine.tasks.consumer_name import consumer_name, is_gone

SAY_NAME = "from reconciler_engine.engine.tasks.consumer_name import consumer_name; print(consumer_name())"


def test_no_two_names_are_one():
    assert len({consumer_name() for _ in range(100)}) == 100


def test_a_process_that_ended_is_gone_and_its_workers_with_it():
    done = subprocess.run([sys.executable, "-c", SAY_NAME], check=True, capture_output=True, text=True)
    name = done.stdout.strip()
    assert is_gone(name)
    assert is_gone(f"{name}:worker-3")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells one life of a machine from another")
def test_one_of_another_life_or_machine_is_not_known_to_be_gone():
    host, _, token = consumer_name().split(":")
    assert is_gone(f"{host}:{2**22 + 1}:{token}")
    assert not is_gone(f"{host}:{2**22 + 1}:00000000.{token.partition('.')[2]}")


@pytest.mark.parametrize("name", ["", "somebody", "host:1:token", f"host:{10**30}:01234567.01234567"])
def test_a_name_that_tells_nothing_is_not_known_to_be_gone(name):
    assert not is_gone(name)


def test_one_that_lives_is_not_gone():
    assert not is_gone(consumer_name())
    host, _, token = consumer_name().split(":")
    assert not is_gone(f"{host}:{os.getppid()}:{token}")
