"""The supervisor: starts an engine's child processes, restarts those that die, and stops them in order."""
