"""What was it worth? Verifiers and reward models."""
