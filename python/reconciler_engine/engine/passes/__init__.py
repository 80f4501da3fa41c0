"""One pass over the cache: its director, its tally, and a survey of what it would do."""
