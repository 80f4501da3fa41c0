"""Faults of the simulated exchange: rules, modes, and their effect on an answer."""
