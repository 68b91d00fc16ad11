"""Questions about what somebody believes, wants or means, with their exact answers."""
