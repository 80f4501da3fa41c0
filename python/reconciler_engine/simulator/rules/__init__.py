"""The rules of the simulated exchange: which answer belongs to a request, without the network."""
