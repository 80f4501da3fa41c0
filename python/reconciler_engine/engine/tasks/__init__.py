"""One task, from the stream to its outcome: a scan of some series, or one page from the exchange."""
