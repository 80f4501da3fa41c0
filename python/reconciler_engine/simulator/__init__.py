"""A Coinbase look-alike on loopback: the product's own exchange for trials and tests."""
