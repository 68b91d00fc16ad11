"""Bars and maps: XML that parses, lengths in proportion, pixels that are the numbers."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest

from fledge.report.bars import Bar, draw_bars, format_share
from fledge.report.heat_map import draw_heat_map, encode_map


def test_bars_are_as_long_as_their_shares() -> None:
    svg = ElementTree.fromstring(
        draw_bars(
            [Bar("<a & b>", 0.5, 0.8), Bar("c", 0.3, 0.2), Bar("d", 0.2, 0.0)], description='"x"'
        )
    )
    rects = {
        name: [float(each.get("width", "")) for each in svg if each.get("class") == name]
        for name in ("before", "after")
    }
    long, short = rects["after"]  # what was taken out has no bar after
    assert long / short == pytest.approx(4.0, rel=0.01)
    assert [width / long for width in rects["before"]] == pytest.approx(
        [0.5 / 0.8, 0.3 / 0.8, 0.2 / 0.8], rel=0.01
    )
    assert [each.text for each in svg if each.get("class") == "out"] == ["d"]
    assert [each.text for each in svg if each.get("class") == "in"] == ["<a & b>", "c"]


@pytest.mark.parametrize(
    ("share", "said"), [(0.0, "out"), (0.5, "50 %"), (0.0234, "2.3 %"), (1.0, "100 %")]
)
def test_a_share_has_two_digits(share: float, said: str) -> None:
    assert format_share(share) == said


def test_a_map_holds_its_numbers() -> None:
    values = np.array([[1.0, 0.5, 0.0], [-1.0, -0.25, 0.25]])
    png = encode_map(values)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") == 3
    assert int.from_bytes(png[20:24], "big") == 2
    size = int.from_bytes(png[33:37], "big")
    rows = np.frombuffer(zlib.decompress(png[41 : 41 + size]), np.uint8).reshape(2, 13)
    pixels = rows[:, 1:].reshape(2, 3, 4)
    np.testing.assert_allclose(pixels[..., 3] / 255, np.abs(values), atol=0.002)
    assert (pixels[0, 0, :3] != pixels[1, 0, :3]).any()


def test_a_map_names_its_rows_where_there_is_room() -> None:
    few = draw_heat_map(np.eye(3), description="x", rows=["a", "<b>", "c"], columns=["d", "e", "f"])
    texts = [each.text for each in ElementTree.fromstring(few) if each.tag == "text"]
    assert texts == ["a", "<b>", "c", "d", "e", "f"]
    names = [str(i) for i in range(40)]
    many = draw_heat_map(np.eye(40), description="x", rows=names, columns=names)
    assert "<text" not in many
    picture = re.search(r"base64,([^\"]+)", many)
    assert picture is not None
    assert base64.b64decode(picture[1]) == encode_map(np.eye(40))
