"""The token engine: requests in, completions out, with one cache for all rows."""
