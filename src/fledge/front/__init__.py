"""The front door for Python: the verbs as functions, models that speak, runs as objects."""
