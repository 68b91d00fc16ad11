"""Runs that decide what a model should learn from, and show it."""
