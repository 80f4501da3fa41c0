"""Candle files of any origin: their recognition, their rows, their gaps. Nothing here writes to one."""
