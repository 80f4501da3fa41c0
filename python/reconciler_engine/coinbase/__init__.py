"""The exchange's API. Other packages see its candles and products as values, and its failures as engine errors."""
