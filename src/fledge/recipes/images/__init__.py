"""Runs whose data are pictures."""
