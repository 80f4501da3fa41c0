"""One pass over the cache: its director and tally, and a survey that only plans."""
