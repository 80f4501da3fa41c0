"""A simulated websocket feeder, and what it loses."""
