"""The engine's reports about itself."""
