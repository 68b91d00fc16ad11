"""Acting by looking ahead: dynamic programming on tables."""
