"""A Coinbase look-alike on loopback: seeded or recorded prices, its refusals and its faults."""
