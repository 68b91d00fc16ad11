"""The page of a study: what it says, and where the whiskers stand."""

from __future__ import annotations

import re

import pytest

from fledge.evaluate.study_findings import Condition, Finding
from fledge.report.show_page import render_show_page
from fledge.report.study_page import draw_study
from fledge.report.whiskers import Whisker, draw_whiskers


def test_whiskers_stand_where_their_values_are() -> None:
    rows = [Whisker("a", 0.2, 0.1, 0.4), Whisker("b & c", 0.8, 0.5, 0.9)]
    drawn = draw_whiskers(rows, description="two")
    ticks = re.findall(r'x1="([\d.]+)".*?>(\d+) %<', drawn)
    (x, p), (y, q) = [(float(at), int(share) / 100) for at, share in (ticks[0], ticks[-1])]
    place = lambda share: x + (share - p) * (y - x) / (q - p)  # noqa: E731
    dots = [float(at) for at in re.findall(r'cx="([\d.]+)"', drawn)]
    lines = re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)"', drawn)
    assert dots == pytest.approx([place(0.2), place(0.8)], abs=0.2)
    ends = [(float(low), float(high)) for low, high in lines]
    assert ends[1] == pytest.approx((place(0.5), place(0.9)), abs=0.2)
    assert "b &amp; c" in drawn


def test_a_page_says_what_is_seen_and_what_is_not() -> None:
    conditions = [Condition("0 of 8", 0.1, 0.0, 0.2, 0.6), Condition("8 of 8", 0.9, 0.8, 1, 0.5)]
    seen = Finding(conditions, "how often", 0.8, 0.7, 0.9, 0.0005, "more often")
    unseen = Finding(conditions[:1], "accuracy", 0.01, -0.1, 0.1, 0.6, "of accuracy")
    findings = {"label_balance": seen, "random_labels": unseen}
    page = render_show_page(draw_study(findings, [("model", "<m>")], "Text: <b>\nLabel:"))
    assert "Label balance matters; no effect of random labels is seen." in page
    assert "+80.0 points (+70.0 to +90.0) more often" in page
    assert "Text: &lt;b&gt;<br>Label:" in page
    assert "&lt;m&gt;" in page
