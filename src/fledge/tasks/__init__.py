"""Questions with a judge: built-in, a file, or code of the user's."""
