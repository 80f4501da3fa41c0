"""The budget of requests to the exchange, kept in Redis by a token bucket with a circuit breaker."""
