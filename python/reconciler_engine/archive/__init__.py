"""Candle files of anybody's: what they are, what is in them, and what they lack. Nothing here writes to one."""
