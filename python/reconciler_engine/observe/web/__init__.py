"""The operator's view over HTTP: probes, metrics, and pages."""
