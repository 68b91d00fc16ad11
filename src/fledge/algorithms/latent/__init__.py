"""What infers what cannot be seen: EM and its relatives, a plain file each."""
