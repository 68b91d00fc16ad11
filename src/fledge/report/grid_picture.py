"""Pictures of a gridworld: values as colours and the policy as arrows, in the terminal and as SVG.

Blue is worth more than nothing and orange less, the stronger the colour the more; both are told
apart by those who see no red or green.
"""

from __future__ import annotations

from html import escape

from rich.text import Text
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.gridworld import Gridworld

ARROWS, EXIT, NOTHING = "↑→↓←", "×", " "  # the arrows are those of ACTIONS
GOOD, BAD, NONE, WALL = (43, 108, 176), (201, 106, 32), (247, 247, 245), (74, 74, 72)
MOST_PLACES = 40_000  # in one SVG: 10 MB, which browsers still show
SIDE, SMALL_SIDE = 64, 8  # pixels of a place, with its number and without
MOST_NUMBERS = 900  # places beyond which numbers are not to be read


def draw_in_terminal(grid: Gridworld, value: Tensor, policy: Tensor | None = None) -> Text:
    """A line of text for each row of the map; rich colours it on a terminal and leaves it plain in
    a pipe.

    value: [H, W]. policy: [H, W], the number of an action or −1 for none. Raises UserError where
        the shapes are others.
    """
    _check(grid, value, policy)
    picture, shown, most = Text(), _lay_out(grid, value), _find_most(grid, value)
    width = max(len(_format_number(x)) for x in shown.flatten().tolist()) + 3
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            if not bool(grid.floor[i, j]):
                picture.append("█" * width, f"rgb({_format_rgb(WALL)})")
                continue
            worth = float(shown[i, j])
            colour = _choose_colour(worth, most)
            style = f"rgb({_format_rgb(_choose_ink(colour))}) on rgb({_format_rgb(colour)})"
            picture.append(
                f"{_choose_sign(grid, policy, i, j)} {_format_number(worth)} ".rjust(width), style
            )
        picture.append("\n")
    picture.right_crop(1)
    return picture


def draw_grid(grid: Gridworld, value: Tensor, policy: Tensor | None = None, title: str = "") -> str:
    """The picture as an SVG document; numbers only where there is room for them, exits in a frame.

    value: [H, W]. policy: [H, W], the number of an action or −1 for none. Raises UserError where
    the shapes are others, and for more than 40,000 places.
    """
    _check(grid, value, policy)
    H, W = value.shape
    if H * W > MOST_PLACES:
        raise UserError(
            f"the map has {H} × {W} places: an SVG holds {MOST_PLACES} at most. Draw a part of it."
        )
    side = SIDE if H * W <= MOST_NUMBERS else SMALL_SIDE
    shown, most = _lay_out(grid, value), _find_most(grid, value)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W * side} {H * side}" '
        f'width="{W * side}" height="{H * side}" role="img" font-family="sans-serif" '
        'text-anchor="middle">',
        f"<title>{escape(title or 'values and policy of a gridworld')}</title>",
    ]
    for i in range(H):
        for j in range(W):
            x, y, worth = j * side, i * side, float(shown[i, j])
            free = bool(grid.floor[i, j])
            colour = _choose_colour(worth, most) if free else WALL
            parts.append(
                f'<rect x="{x}" y="{y}" width="{side}" height="{side}" '
                f'fill="rgb({_format_rgb(colour)})" stroke="#fff"/>'
            )
            sign, ink = _choose_sign(grid, policy, i, j), f"rgb({_format_rgb(_choose_ink(colour))})"
            if free and side == SIDE:
                parts += _draw_label(sign, _format_number(worth), x, y, ink)
            elif free and sign in ARROWS:
                parts.append(_draw_arrow(sign, x + side / 2, y + side / 2, side * 0.35, ink))
    return "\n".join([*parts, "</svg>"])


def _draw_label(sign: str, number: str, x: int, y: int, ink: str) -> list[str]:
    """What stands in a large place: its number, and its arrow or, for an exit, a frame."""
    half, inner = SIDE // 2, SIDE - 8
    parts = [f'<text x="{x + half}" y="{y + SIDE - 9}" font-size="13" fill="{ink}">{number}</text>']
    if sign in ARROWS:
        parts.append(_draw_arrow(sign, x + half, y + half - 8, 14, ink))
    elif sign == EXIT:
        frame = (
            f'<rect x="{x + 4}" y="{y + 4}" width="{inner}" height="{inner}" fill="none" '
            f'stroke="{ink}" stroke-width="2"/>'
        )
        parts.append(frame)
    return parts


def _draw_arrow(sign: str, x: float, y: float, reach: float, ink: str) -> str:
    """An arrow through (x, y): drawn upwards and turned, so that there is one to draw."""
    r = reach
    return (
        f'<path d="M0 {r:g}V{-r:g}M{-0.5 * r:g} {-0.4 * r:g}L0 {-r:g}L{0.5 * r:g} {-0.4 * r:g}" '
        f'transform="translate({x:g} {y:g}) rotate({90 * ARROWS.index(sign)})" fill="none" '
        f'stroke="{ink}" stroke-width="{max(1.0, r / 7):.2g}"/>'
    )


def _check(grid: Gridworld, value: Tensor, policy: Tensor | None) -> None:
    for name, given in (("value", value), ("policy", policy)):
        if given is not None and given.shape != grid.floor.shape:
            raise UserError(
                f"the {name} is {tuple(given.shape)}, the map {tuple(grid.floor.shape)}: bring "
                "what is by state onto the map with `grid.on_map`."
            )


def _lay_out(grid: Gridworld, value: Tensor) -> Tensor:
    """The value of the floor, the worth of exits, 0 in walls.  -> [H, W]"""
    return value.where(grid.floor, 0.0).where(~grid.exits, grid.worth.to(value.dtype))


def _find_most(grid: Gridworld, value: Tensor) -> float:
    """What the strongest colour stands for."""
    return max(1e-12, float(_lay_out(grid, value).abs().max()))


def _choose_sign(grid: Gridworld, policy: Tensor | None, i: int, j: int) -> str:
    if bool(grid.exits[i, j]):
        return EXIT
    return NOTHING if policy is None or int(policy[i, j]) < 0 else ARROWS[int(policy[i, j])]


def _format_number(x: float) -> str:
    return f"{x:+.2f}" if abs(x) < 100 else f"{x:+.3g}"


def _choose_colour(x: float, most: float) -> tuple[int, int, int]:
    end, share = (GOOD if x > 0 else BAD), min(1.0, abs(x) / most)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(NONE, end, strict=True))
    return red, green, blue


def _choose_ink(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever is read more easily on this (ITU-R BT.601's luma)."""
    red, green, blue = colour
    return (20, 20, 20) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)


def _format_rgb(colour: tuple[int, int, int]) -> str:
    return ",".join(map(str, colour))
