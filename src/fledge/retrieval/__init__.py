"""Memory outside the weights: a file of texts that a model reads and writes."""
