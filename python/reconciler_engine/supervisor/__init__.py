"""The supervisor: starts an engine's children, starts them again when they die, ends them in order."""
