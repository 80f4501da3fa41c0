"""What an operator sees over HTTP: probes, metrics, a status page, a coverage page."""
