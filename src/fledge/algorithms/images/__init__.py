"""Learning to make pictures, one plain file each: by likelihood, a bound on it, or without one."""
