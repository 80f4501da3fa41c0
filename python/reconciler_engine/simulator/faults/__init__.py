"""Faults of the simulated exchange: rules, modes, and what each does to an answer."""
