"""A trio client of Redis: redis-py's commands over our own connections."""
