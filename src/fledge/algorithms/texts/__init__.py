"""How models of sentences by vectors are learned."""
