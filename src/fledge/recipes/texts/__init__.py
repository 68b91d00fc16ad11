"""Runs of `fledge imagine` whose data are sentences."""
