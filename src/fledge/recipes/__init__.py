"""One run each: a frozen config and a function; their fields are the command line."""
