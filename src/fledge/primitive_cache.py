"""How many of the programs that oneDNN writes for products are kept: one for every shape, some half
a megabyte each, 1,024 if nobody says otherwise.

https://uxlfoundation.github.io/oneDNN/dev_guide_primitive_cache.html
"""

from __future__ import annotations

import os

# What one piece of a step of a transformer with adapters needs, forwards or backwards, fits in.
# Pieces have ever other numbers of tokens, so that what is kept for them is seldom used again, and
# a process grows from step to step (torch 2.13.0, SmolLM2 in bfloat16).
PRIMITIVES = 64
_NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")


def bound_primitive_cache() -> None:
    """From the first product of the process on; later it changes nothing. What the user's
    environment says stays.
    """
    if not any(name in os.environ for name in _NAMES):
        os.environ[_NAMES[0]] = str(PRIMITIVES)
