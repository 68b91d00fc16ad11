"""Models in and out, in Hugging Face's layout."""
