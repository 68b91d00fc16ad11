"""What learns from comparisons and verdicts."""
