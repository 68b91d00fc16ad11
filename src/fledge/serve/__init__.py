"""A model that answers: OpenAI's API and a chat page over the token engine."""
