"""When jobs run: cron expressions, ticks, the loop and its overlap guard."""
