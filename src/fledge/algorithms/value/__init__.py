"""What learns what actions are worth."""
