"""Games of two players: self-play, and who plays for a finished run."""
