"""What raises the likelihood of given, kept or relabelled data."""
