"""The exchange's request budget: a token bucket in pure arithmetic, and the same in Redis."""
