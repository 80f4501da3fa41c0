"""Candles of the simulated exchange, computed from a seed or read from files, and its products."""
