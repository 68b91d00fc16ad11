"""Claims held against the oracles: the table of `fledge verify`."""
