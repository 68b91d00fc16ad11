"""Where experience is made: today the verifiable text tasks, built in and the user's own."""
