"""What raises the expected reward by the policy's own samples."""
