"""The pass: scan, confirm, plan, fetch, merge, result."""
