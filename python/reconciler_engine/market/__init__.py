"""Values of the candle market: frozen, validated, standard library only."""
