"""Scheduling of jobs: cron expressions, ticks, the scheduler's loop and its overlap guard."""
