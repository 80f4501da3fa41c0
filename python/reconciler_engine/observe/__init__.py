"""The engine's reports about itself: logs, metrics, status, alerts and pages."""
