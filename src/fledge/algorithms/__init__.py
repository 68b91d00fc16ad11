"""One plain file per algorithm; `update(batch)` does sample, score, weigh and fit in order."""
