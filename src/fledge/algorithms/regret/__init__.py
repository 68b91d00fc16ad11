"""Minimising regret in games with hidden information."""
