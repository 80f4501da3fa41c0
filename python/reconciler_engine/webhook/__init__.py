"""Posts to the operator's webhook: signed, and tried again until they are taken."""
