"""Loaded by every Python that has this folder in its PYTHONPATH: its calls are noted, and a fault planted in it."""

import os
from pathlib import Path

from tests.histories.planted import FAULTS
from tests.histories.recorder import record_into

if "HISTORY_FOLDER" in os.environ:
    record_into(Path(os.environ["HISTORY_FOLDER"]))
if "HISTORY_FAULT" in os.environ:
    FAULTS[os.environ["HISTORY_FAULT"]].plant()
