"""The candles of the simulated exchange: seeded or recorded, and its products."""
