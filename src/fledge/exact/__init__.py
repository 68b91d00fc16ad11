"""Oracles: what the algorithms should arrive at, computed by enumeration."""
