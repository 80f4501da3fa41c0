"""Value types of the candle market: immutable and validated, on the standard library alone."""
