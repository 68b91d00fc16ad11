"""Runs that infer what cannot be seen."""
