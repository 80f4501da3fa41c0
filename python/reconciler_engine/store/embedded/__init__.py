"""The embedded server: its binary, its data directory, its processes."""
