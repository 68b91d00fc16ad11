"""What looks at finished runs and models."""
