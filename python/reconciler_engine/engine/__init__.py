"""The reconciliation engine: scheduled passes, their tasks, backfills, and the engine as a library."""
