"""The tree of processes: who starts whom, who notices a death, who ends last."""
