"""Text that others wrote, as a person may see it: what would steer a terminal or a page is shown as
an escape like \\x1b.
"""

from __future__ import annotations

# A model, a file's name or a field of somebody's data may hold anything. Control characters move
# the cursor, rename the window and fill the clipboard; marks of direction turn a line around; half
# of a surrogate pair ends a print.
_CONTROLS = [*range(9), *range(11, 32), *range(127, 160)]
_DIRECTIONS = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_HALVES = range(0xD800, 0xE000)
READABLE = {code: f"\\x{code:02x}" for code in _CONTROLS} | {
    code: f"\\u{code:04x}" for code in (*_DIRECTIONS, *_HALVES)
}
_IN_A_CELL = READABLE | {ord("\n"): "\\n", ord("\t"): "\\t"}


def readable(text: str) -> str:
    """Text of several lines: line breaks and tabs stay what they are."""
    return text.translate(READABLE)


def cell(text: str) -> str:
    """Text of one line, for a table."""
    return text.translate(_IN_A_CELL)
