"""The exchange's request budget, kept in Redis by a token bucket and a circuit breaker."""
