"""The prompting programs, one plain file each."""
