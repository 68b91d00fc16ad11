"""The files that the README sends a reader through are there, in one sitting's length, each with a
sentence that says what it is.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def reading_order() -> list[Path]:
    text = (ROOT / "README.md").read_text()
    paragraph = text[text.index("To read how it works") :].split("\n\n")[0]
    return [ROOT / "src/fledge" / name for name in re.findall(r"`([\w/]+\.py)`", paragraph)][:9]


def test_nine_files_say_how_it_works_in_1400_lines() -> None:
    files = reading_order()
    assert len(set(files)) == 9
    assert sum(len(file.read_text().splitlines()) for file in files) <= 1400
    assert all(ast.get_docstring(ast.parse(file.read_text())) for file in files)
