//! Exact gap detection over int64 timestamps against a grid of expected open times.
