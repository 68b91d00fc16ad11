"""Runs that compare or check."""
