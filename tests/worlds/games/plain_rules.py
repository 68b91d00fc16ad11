"""The same games once more, the slow way: boards as lists of lists, rules as a person reads them.

Shares no code with the package; what it says of whole random games is what the package must say.
"""

from __future__ import annotations

import itertools

Board = list[list[str]]
WAYS = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]


def has_row(board: Board, player: str, length: int) -> bool:
    rows, columns = len(board), len(board[0])
    for r, c, (a, b) in itertools.product(range(rows), range(columns), WAYS):
        places = [(r + a * k, c + b * k) for k in range(length)]
        if all(0 <= y < rows and 0 <= x < columns for y, x in places) and all(
            board[y][x] == player for y, x in places
        ):
            return True
    return False


class PlainRules:
    """One position: `board`, whose `turn`."""

    def __init__(self, name: str, columns: int = 7, rows: int = 6) -> None:
        self.name, self.turn = name, "x"
        sizes = {"tictactoe": (3, 3), "othello": (6, 6), "connect4": (rows, columns)}
        self.rows, self.columns = sizes[name]
        self.board = [["" for _ in range(self.columns)] for _ in range(self.rows)]
        if name == "othello":
            self.board[2][2] = self.board[3][3] = "o"
            self.board[2][3] = self.board[3][2] = "x"

    @property
    def other(self) -> str:
        return "o" if self.turn == "x" else "x"

    def turned(self, r: int, c: int, player: str) -> list[tuple[int, int]]:
        """What a stone of Othello would turn."""
        if self.board[r][c]:
            return []
        enemy = "o" if player == "x" else "x"
        flipped = []
        for a, b in WAYS:
            line = []
            y, x = r + a, c + b
            while 0 <= y < self.rows and 0 <= x < self.columns and self.board[y][x] == enemy:
                line.append((y, x))
                y, x = y + a, x + b
            if 0 <= y < self.rows and 0 <= x < self.columns and self.board[y][x] == player:
                flipped += line
        return flipped

    def places(self, player: str) -> list[int]:
        """Othello's."""
        return [
            r * self.columns + c
            for r in range(self.rows)
            for c in range(self.columns)
            if self.turned(r, c, player)
        ]

    def moves(self) -> list[int]:
        if self.name == "connect4":
            return [c for c in range(self.columns) if not self.board[0][c]]
        if self.name == "tictactoe":
            return [i for i in range(9) if not self.board[i // 3][i % 3]]
        return self.places(self.turn) or [36]

    def play(self, move: int) -> None:
        if self.name == "connect4":
            row = max(r for r in range(self.rows) if not self.board[r][move])
            self.board[row][move] = self.turn
        elif move != 36:
            r, c = divmod(move, self.columns)
            flips = self.turned(r, c, self.turn) if self.name == "othello" else []
            for y, x in [(r, c), *flips]:
                self.board[y][x] = self.turn
        self.turn = self.other

    def result(self) -> int | None:
        """What x got, None before the end."""
        cells = [cell for row in self.board for cell in row]
        if self.name == "othello":
            if self.places("x") or self.places("o"):
                return None
            more = cells.count("x") - cells.count("o")
            return (more > 0) - (more < 0)
        length = 3 if self.name == "tictactoe" else 4
        for player, value in (("x", 1), ("o", -1)):
            if has_row(self.board, player, length):
                return value
        return 0 if all(cells) else None
