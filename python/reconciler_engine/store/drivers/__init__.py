"""Drivers of conversations without I/O: one for each kind of Redis client."""
