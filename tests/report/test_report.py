"""The report: one file that needs nothing else, in which a model's words are never more than
words.
"""

from __future__ import annotations

import math
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fledge.errors import UserError
from fledge.recipes.look.report import ReportConfig, report
from fledge.recipes.look.runs import RunsConfig, runs
from fledge.report import curves
from fledge.report.chapter import draw_pictures, list_run_files, read_curves
from fledge.report.figures import (
    choose_headline,
    format_duration,
    format_size,
    format_value,
    read_latest,
)
from fledge.report.overoptimisation import Overoptimisation, find_overoptimisation
from fledge.report.report import render_report, write_report
from fledge.report.samples import compare_answers
from fledge.runs.folder import Run
from fledge.runs.show import Show

ATTACK = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'{{ 7 * 7 "
    "}}\x00\x1b\u202e\ud800"
)
VOID = {"meta", "br", "img", "link", "line", "circle", "path"}


class Page(HTMLParser):
    """Every element with its attributes, the visible text, and a check that what opens closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.words += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def road(folder: Path) -> Path:
    demo = Run.create(folder, "demo", {"seed": 0}, seed=0)
    pretrain = Run.create(
        folder / "pretrain", "pretrain", {"model": {"layers": 2}, "note": ATTACK}, seed=0
    )
    align = Run.create(folder / "align", "align", {}, seed=0, parents=[pretrain.folder])
    Run.create(folder / "stopped", "align", {}, seed=0, parents=[pretrain.folder])
    for step in range(60):
        pretrain.metrics.write(
            {"step": step, "loss": 3 / (step + 1), "grad_norm": math.nan if step == 5 else 1.0}
        )
        pretrain.timings.write(
            {"step": step, "fit": 0.09, "other": 0.01, "tokens_per_second": 1000.0 + step}
        )
    for step, exact in ((0, False), (60, True)):
        align.metrics.write({"step": step, "exact_match": 0.5, ATTACK: 1.0})
        align.samples.write(
            {"step": step, "prompt": ATTACK, "completion": ATTACK, "answer": "x", "exact": exact}
        )
    pretrain.finish(
        {"seconds": 60.0, "before": {"validation_loss": 3.0}, "after": {"validation_loss": 0.05}}
    )
    demo.finish(
        {
            "seconds": 341.0,
            "aligned_exact_match": 0.943,
            "stages": [
                {
                    "name": "raw text",
                    "seconds": 60.0,
                    "run": "pretrain",
                    "before": {"loss": 3.0},
                    "after": {"loss": 0.05},
                },
                {
                    "name": ATTACK,
                    "seconds": 30.0,
                    "run": "align",
                    "before": {},
                    "after": {"exact_match": 0.943},
                },
            ],
        }
    )
    return folder


def test_a_road_is_one_page_that_asks_the_network_for_nothing(tmp_path: Path) -> None:
    written = write_report(road(tmp_path / "demo"))
    assert written == tmp_path / "demo" / "report.html"
    page = Page(written.read_text(encoding="utf-8"))
    assert page.count("script") == page.count("style") == 1
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in page.elements
    }
    for tag, attributes in page.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if tag == "a":
            assert (attributes["href"] or "").startswith("#")
    assert "url(" not in written.read_text(encoding="utf-8")


def test_links_inside_the_page_lead_somewhere(tmp_path: Path) -> None:
    page = Page(render_report(road(tmp_path / "demo")))
    places = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = {(attributes["href"] or "")[1:] for tag, attributes in page.elements if tag == "a"}
    assert links <= places
    assert len(links) == 3


def test_what_a_model_wrote_is_shown_and_never_run(tmp_path: Path) -> None:
    text = render_report(road(tmp_path / "demo"))
    assert "<script>alert" not in text
    assert "onerror=alert(1)>" not in text
    assert not any(character in text for character in "\x00\x1b\u202e")
    words = Page(text).words
    assert "<script>alert(1)</script><img src=x onerror=alert(1)>" in words
    assert "{{ 7 * 7 }}\\x00\\x1b\\u202e" in words


def test_the_page_says_what_the_road_did(tmp_path: Path) -> None:
    words = " ".join(Page(render_report(road(tmp_path / "demo"))).words.split())
    for sentence in (
        "raised from raw text to an aligned policy, in 5 min 41 s.",
        "raw text 1 min 0 s loss 3.00 → 0.050",
        "aligned exact match 94.3 %",
        "validation loss 3.00 → 0.050",
        "before, step 0 ✗ wrong",
        "after, step 60 ✓ right",
        "fit 5.4 s 90.0 %",
        "1,030 tokens per second",
        "(1 not a number)",
        "model.layers 2",
    ):
        assert sentence in words, sentence


def test_a_run_without_metrics_says_so(tmp_path: Path) -> None:
    words = " ".join(Page(render_report(road(tmp_path / "demo") / "stopped")).words.split())
    assert "Nothing was logged yet" in words
    assert f"fledge resume {tmp_path / 'demo' / 'stopped'} continues it" in words
    assert "../pretrain" in words


def test_a_run_whose_parent_and_lineage_are_gone_still_has_a_page(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", "tune", {}, seed=0, parents=[tmp_path / "gone"])
    assert "no longer there" in Page(render_report(run.folder)).words
    (tmp_path / "a" / "lineage.json").unlink()
    Page(render_report(run.folder))


def test_a_folder_that_may_not_be_read_is_named_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "kept.txt").write_text("kept")
    inside = Path.iterdir

    def refuse(folder: Path) -> Any:
        if folder.name == "notes":  # who runs the tests may be allowed everything
            raise PermissionError(13, "Permission denied", str(folder))
        return inside(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert [(name, said) for name, _, said in list_run_files(tmp_path) if name != "kept.txt"] == [
        ("notes/", "cannot be read (permission denied)")
    ]
    assert [size for name, size, _ in list_run_files(tmp_path) if name == "kept.txt"] == [4]


def test_a_folder_without_a_run_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        write_report(tmp_path)


def test_the_same_folder_gives_the_same_page(tmp_path: Path) -> None:
    folder = road(tmp_path / "demo")
    first = render_report(folder)
    write_report(folder)
    assert render_report(folder) == first


def test_samples_are_paired_by_prompt_at_the_first_and_last_step() -> None:
    rows = [
        {"step": step, "prompt": prompt, "completion": f"{prompt}{step}{again}"}
        for step in (0, 50, 100)
        for prompt in ("a", "b")
        for again in range(2)
    ]
    rows.insert(0, {"step": 0, "prompt": "only once", "completion": "c"})
    shown = [
        (one.before.text, one.after.text if one.after else None) for one in compare_answers(rows)
    ]
    assert shown == [
        ("a00", "a1000"),
        ("a01", "a1001"),
        ("b00", "b1000"),
        ("b01", "b1001"),
        ("c", None),
    ]


def test_figures_that_belong_together_share_a_picture() -> None:
    rows = [
        {"step": i, "loss": 1.0, "validation_loss": 2.0, "reward": i, "reward_model_score": i}
        for i in range(3)
    ]
    rows = [*rows, {"step": 3, "learning_rate": 0.1, "tokens": 5, "word": "x", "lost": None}]
    figures, *_ = read_curves(rows)
    pictures, more = draw_pictures(figures)
    assert [(picture.title, picture.legend) for picture in pictures] == [
        ("Loss", ["loss", "validation loss"]),
        ("Reward", []),
    ]
    assert [picture.title for picture in more] == ["Learning rate"]


def steps(true_end: float, proxy_end: float, number: int) -> list[dict[str, float]]:
    """Both scores rise to their peak at half way, then go straight to their ends; noise of 0.03."""
    noise = random.Random(0)

    def bend(end: float, u: float) -> float:
        return 0.4 + u if u < 0.5 else 0.9 + (end - 0.9) * (u - 0.5) * 2

    return [
        {
            "step": i,
            "kl_k1": 16 * (i / number) ** 2 - 0.001,
            "true_score": bend(true_end, i / number) + noise.gauss(0, 0.03),
            "reward_model_score": bend(proxy_end, i / number) + noise.gauss(0, 0.03),
        }
        for i in range(number)
    ]


def judge(rows: list[dict[str, float]]) -> Overoptimisation | None:
    _, scores, _ = read_curves(rows)
    return find_overoptimisation(scores)


@pytest.mark.parametrize("number", [200, 4000])
def test_overoptimisation_is_truth_falling_while_the_reward_model_rises(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "MOST", 512)  # so that 4,000 are drawn as means
    verdict = judge(steps(0.5, 1.8, number))
    assert verdict is not None
    assert verdict.happened
    assert (
        "beyond √KL = 2.0 the true score fell from 0.8" in verdict.sentence
        or "√KL = 1.9" in verdict.sentence
    )
    for true_end, proxy_end in ((0.9, 1.8), (1.2, 1.8), (0.5, 0.3)):
        verdict = judge(steps(true_end, proxy_end, number))
        assert verdict is not None
        assert not verdict.happened
    assert judge([{"step": 1, "kl_k1": 1.0, "true_score": 1.0}] * 9) is None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("exact_match", 0.4375, "43.8\u00a0%"),
        ("loss", 2.4111, "2.41"),
        ("loss", 0.0, "0.000"),
        ("learning_rate", 3e-4, "3.0e-04"),
        ("steps", 12345, "12,345"),
        ("seconds", 252.2, "4 min 12 s"),
        ("loss", None, "not a number"),
    ],
)
def test_values_are_written_with_the_digits_worth_reading(
    name: str, value: float | None, text: str
) -> None:
    assert format_value(name, value) == text


def test_durations_and_sizes_read_well() -> None:
    assert [format_duration(s) for s in (0.44, 59.6, 7500, 3 * 86400)] == [
        "0.4 s",
        "1 min 0 s",
        "2 h 5 min",
        "3 days",
    ]
    assert [format_size(n) for n in (0, 999, 1500, 123_456_789)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "123 MB",
    ]


def test_the_headline_is_held_out_before_trained_on_and_success_before_loss() -> None:
    rows = [
        {"step": 1, "loss": 1.0},
        {"step": 2, "exact_match": 0.5, "held_out_exact_match": 0.4},
        {"step": 3},
    ]
    assert choose_headline(read_latest(rows)[0]) == ("held_out_exact_match", 0.4)
    assert choose_headline(read_latest(rows[:1])[0]) == ("loss", 1.0)
    assert choose_headline({}) is None


def test_the_commands_say_what_they_made_and_list_every_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = road(tmp_path / "runs" / "demo")
    show = Show(Console(width=160))
    made = report(ReportConfig(run=folder, out=tmp_path / "page.html"), show)
    assert made == {
        "report": str(tmp_path / "page.html"),
        "bytes": (tmp_path / "page.html").stat().st_size,
    }
    listed = runs(RunsConfig(root=tmp_path / "runs"), show)["runs"]
    assert [(row["run"], row["finished"], row["steps"]) for row in listed] == [
        ("demo", True, 0),
        ("demo/pretrain", True, 59),
        ("demo/align", False, 60),
        ("demo/stopped", False, 0),
    ]
    assert "├─ demo/align" in capsys.readouterr().out
    with pytest.raises(UserError, match="is no folder"):
        runs(RunsConfig(root=tmp_path / "nowhere"), show)
