"""Programs that a model has written, run in processes of their own under limits."""
