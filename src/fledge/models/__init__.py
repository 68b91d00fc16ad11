"""Networks behind policies."""
