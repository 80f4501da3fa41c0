"""The roles of child processes: worker, web pages, simulated feeder."""
