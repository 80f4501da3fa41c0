"""One task, from the stream to its outcome: a scan of series, or one page from the exchange."""
