"""Gap detection: by the native module if it is built, else in pure Python, with the same results and errors.

RECONCILER_PURE_PYTHON=1 in the environment forces pure Python. It is read once, at import.
"""

from reconciler_engine.detection.detect import detect_gaps
from reconciler_engine.detection.gaps import Gaps
from reconciler_engine.detection.implementation import IMPLEMENTATION
from reconciler_engine.market.gap import Gap

__all__ = ["IMPLEMENTATION", "Gap", "Gaps", "detect_gaps"]
