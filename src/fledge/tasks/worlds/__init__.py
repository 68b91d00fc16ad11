"""Worlds made of text: what is said in them is done, and what came of it is said in return."""
