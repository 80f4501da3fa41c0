"""One pass over the cache: its director, its tally, and a survey that only plans."""
