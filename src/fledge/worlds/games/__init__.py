"""Games of two players who see everything, many positions side by side; some throw dice."""
