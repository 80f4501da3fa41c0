"""Rules of the simulated exchange: the answer to each request, computed without network I/O."""
