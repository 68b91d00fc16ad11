"""Scaling laws: what a size and a number of tokens come to, fitted on runs that there are."""
