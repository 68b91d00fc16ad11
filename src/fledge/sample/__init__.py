"""Trajectories out of data, a world, or the policy itself."""
