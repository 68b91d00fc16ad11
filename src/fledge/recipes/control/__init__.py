"""Runs of agents in worlds."""
