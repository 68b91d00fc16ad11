"""Two games by plain recursion, one position at a time: tic-tac-toe, and the race by dice. What
search in games is held against.
"""

from __future__ import annotations

from functools import cache

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


@cache
def tic_tac_toe_value(board: str) -> int:
    """What x gets of the best play of both. board: nine of x, o and dot; x moves where there are
    as many of both.
    """
    for a, b, c in LINES:
        if board[a] != "." and board[a] == board[b] == board[c]:
            return 1 if board[a] == "x" else -1
    if "." not in board:
        return 0
    mover = "x" if board.count("x") == board.count("o") else "o"
    after = [board[:i] + mover + board[i + 1 :] for i, cell in enumerate(board) if cell == "."]
    values = [tic_tac_toe_value(each) for each in after]
    return max(values) if mover == "x" else min(values)


def list_tic_tac_toe() -> list[str]:
    """Every board that can come about; there are 5,478."""
    tic_tac_toe_value.cache_clear()
    tic_tac_toe_value("." * 9)
    boards, waiting = {"." * 9}, ["." * 9]
    while waiting:
        board = waiting.pop()
        if any(board[a] != "." and board[a] == board[b] == board[c] for a, b, c in LINES):
            continue
        mover = "x" if board.count("x") == board.count("o") else "o"
        for i, cell in enumerate(board):
            after = board[:i] + mover + board[i + 1 :]
            if cell == "." and after not in boards:
                boards.add(after)
                waiting.append(after)
    return sorted(boards)


FIELDS, WALK = 12, 2
# What the die shows, how likely; and how likely to whom it has shown two zeros in a row.
DIE = ((0, 0.3), (1, 0.2), (3, 0.2), (6, 0.3))
DIE_AFTER_ZEROS = ((1, 0.3), (3, 0.3), (6, 0.4))


@cache
def dice_value(here: int, there: int, zeros: int = 0, their_zeros: int = 0) -> float:
    """What the one who moves gets in the race by dice. here, there: the fields of both; zeros: that
    the die has shown to each in a row.
    """
    if there >= FIELDS:
        return -1.0
    walk = -dice_value(there, min(here + WALK, FIELDS), their_zeros, 0)
    throw = 0.0
    for face, chance in DIE_AFTER_ZEROS if zeros >= 2 else DIE:
        now = zeros + 1 if face == 0 else 0
        throw -= chance * dice_value(there, min(here + face, FIELDS), their_zeros, now)
    return max(walk, throw)
