"""Backfills of long ranges: the director, one run, the progress of a series, and the reader of a range."""
