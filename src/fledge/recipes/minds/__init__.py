"""`fledge minds`: scenes with somebody in them, and what goes on in their heads."""
