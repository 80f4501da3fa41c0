"""Drivers that carry out the steps of conversations, one for each kind of Redis client."""
