"""Reads candle files of any origin: recognises their format, yields their rows, finds their gaps. Never writes them."""
