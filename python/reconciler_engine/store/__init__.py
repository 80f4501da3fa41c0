"""Redis: the transport, the candle cache's layout, task streams, the embedded server."""
