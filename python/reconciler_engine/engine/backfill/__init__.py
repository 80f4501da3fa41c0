"""Backfills of long ranges: the director, one run, its progress, and the reader of a range."""
