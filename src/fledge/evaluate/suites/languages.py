"""The language that a text is in, by langdetect (an extra: pip install 'fledge[languages]'), which
is what IFEval's own program asks.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType


def can_tell() -> bool:
    """Whether the package is here."""
    return _open() is not None


def is_in(language: str, text: str) -> bool:
    """Whether a text is in this language, such as "en" or "zh-cn". A text that has no language, of
    digits for instance, is in each, as IFEval counts it. The package must be here.
    """
    detector = _open()
    assert detector is not None
    try:
        return detector.detect(text) == language
    except detector.LangDetectException:
        return True


@cache
def _open() -> ModuleType | None:
    try:
        detector = importlib.import_module("langdetect")
    except ImportError:
        return None
    # It draws at random which letters it looks at: so a text is the same language every time.
    detector.DetectorFactory.seed = 0
    return detector
