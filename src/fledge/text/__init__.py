"""Bytes to tokens and back: tokenizers, the chat template, corpora, and token shards on disk."""
