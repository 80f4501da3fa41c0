"""Posts to the operator's webhook: signed, and sent again until the receiver takes them."""
