"""Which documents a model should learn from: rules, copies, overlaps, and why each was dropped."""
