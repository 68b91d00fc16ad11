"""Asking models: by prompting programs, in studies of prompts, with a memory."""
