"""Keeps a Redis cache of OHLCV candles complete and right."""
