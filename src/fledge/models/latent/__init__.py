"""Models with something that cannot be seen: mixtures, factors; their densities and statistics."""
