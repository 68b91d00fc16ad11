"""Other people's trainers before the same oracles: the table of `fledge verify peer=…`."""
