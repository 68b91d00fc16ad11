"""Commands that look at what is there."""
