"""fledge raises a language model from raw text to an aligned policy."""

__version__ = "0.2.0"
