"""How good is it? Answers to a task, episodes of an agent, intervals."""
