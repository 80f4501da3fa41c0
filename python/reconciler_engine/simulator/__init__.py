"""A Coinbase look-alike on loopback: `prices` (seeded or recorded), `rules` of the exchange, and `faults`."""
