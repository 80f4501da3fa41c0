"""A simulated websocket feeder, and its losses."""
