"""Scenes as short TOML files that a person can write: those that fledge brings, and one's own."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fledge.errors import UserError

FOLDER = Path(__file__).with_name("scenes")


@dataclass(frozen=True)
class SceneFile:
    """name: as it was given. fields: what stands in the file."""

    name: str
    fields: Mapping[str, Any]

    @property
    def title(self) -> str:
        return str(self.fields.get("title", self.name))

    @property
    def kind(self) -> str:
        return str(self.fields.get("kind", "walk"))

    def check_names(self, known: Collection[str]) -> None:
        """Raises UserError for a field that nobody reads."""
        for name in self.fields:
            if name not in {*known, "title", "source", "kind"}:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f": perhaps you meant `{near[0]}`" if near else ""
                raise UserError(
                    f"the scene {self.name} has a field `{name}`, which a scene of kind "
                    f"{self.kind} does not have{hint}. It has {', '.join(sorted(known))}."
                )

    def text(self, name: str, otherwise: str | None = None) -> str:
        value = self.fields.get(name, otherwise)
        if not isinstance(value, str):
            raise self.wrong(name, "a text")
        return value

    def number(
        self, name: str, otherwise: float, low: float = -math.inf, high: float = math.inf
    ) -> float:
        value = self.fields.get(name, otherwise)
        if not is_finite(value) or not low <= value <= high:
            above = "" if low == -math.inf else f" from {low:g}"
            below = "" if high == math.inf else f" to {high:g}"
            raise self.wrong(name, f"a number{above}{below}")
        return float(value)

    def whole(self, name: str, otherwise: int, low: int, high: int) -> int:
        value = self.fields.get(name, otherwise)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low:,} to {high:,}")
        return value

    def names(self, name: str) -> list[str]:
        """A list of different names."""
        value = self.fields.get(name)
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(each, str) and each for each in value)
            or len(set(value)) < len(value)
        ):
            raise self.wrong(name, 'a list of different names, such as ["A", "B"]')
        return value

    def table(self, name: str) -> Mapping[str, Any]:
        value = self.fields.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, f"a table, [{name}]")
        return value

    def wrong(self, name: str, wanted: str) -> UserError:
        given = self.fields.get(name)
        said = "has no" if given is None else f"has {name} = {given!r}, not a fitting"
        return UserError(f"the scene {self.name} {said} `{name}`: give {wanted}.")


def list_scenes() -> list[str]:
    """The names of those that fledge brings."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def read_scene(name: str) -> SceneFile:
    """One of fledge's own by its name, or a file.  Raises UserError where it cannot be read."""
    own = FOLDER / f"{name}.toml"
    path = own if name in list_scenes() else Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        near = difflib.get_close_matches(name, list_scenes(), n=1)
        hint = f"perhaps you meant {near[0]}; " if near else ""
        raise UserError(
            f"there is no scene {name}: {hint}give one of {', '.join(list_scenes())}, or a text "
            "file of your own, such as ./mine.txt."
        ) from error
    return parse_scene(text, name)


def parse_scene(text: str, name: str) -> SceneFile:
    """Raises UserError, naming the line, for what is no TOML."""
    try:
        return SceneFile(name, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"the scene {name} cannot be read ({error}): it is TOML, lines such as title = "
            '"My scene", and a map between three quotation marks.'
        ) from error


def is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
