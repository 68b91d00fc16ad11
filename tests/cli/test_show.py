"""`fledge show`: a page for each subject from the command line, with numbers that a hand gets too,
and one sentence for what cannot be drawn.
"""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.cli.commands import Cli, Models

SUBJECTS = {
    "sampling": "show sampling",
    "sampling of a model": "show sampling {tune} prompt=the said=cat tokens=8",
    "sampling, greedy": "show sampling temperature=0",
    "rope": "show rope",
    "rope of a model": "show rope {pretrain} scaling=yarn factor=2.5",
    "coordinates": "show coordinates widths=16,32 steps=1 seeds=1",
    "attention": "show attention {pretrain} text=the",
    "attention in a chat": "show attention {tune} text=cat chat=true layer=1 head=2",
    "merges": "show merges",
    "merges of a file": "show merges data={text} merges=5 word=hilly",
}


class Reader(HTMLParser):
    """What a page loads from elsewhere, and the headings it has."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith(("data:", "#")):
                self.loads.append(value)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_is_a_page_that_needs_nothing_else(
    subject: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli([*models.fill(SUBJECTS[subject]), "out=page.html"], folder=tmp_path)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Page: page.html"
    page = (tmp_path / "page.html").read_text()
    reader = Reader()
    reader.feed(page)
    assert reader.loads == []
    assert "<figure>" in page
    again = cli([*models.fill(SUBJECTS[subject]), "out=page.html"], folder=tmp_path)
    assert again.code == 0  # over a page of its own
    assert (tmp_path / "page.html").read_text() == page


def test_the_numbers_of_the_twenty_words(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "show sampling temperature=1 top_k=2 top_p=1 min_p=0 repetition_penalty=1 "
        "presence_penalty=0 --json",
        folder=tmp_path,
    )
    model, after = done.result["stages"]
    assert model["probability"][0] == ["mat", pytest.approx(0.26)]
    chances = dict(after["probability"])
    assert chances["mat"] == pytest.approx(0.26 / 0.41, abs=1e-6)
    assert chances["floor"] == pytest.approx(0.15 / 0.41, abs=1e-6)
    assert sum(chances.values()) == pytest.approx(1.0)
    assert after["removed"] == pytest.approx(0.59, abs=1e-6)
    p = 0.26 / 0.41
    wanted = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert after["entropy"] == pytest.approx(wanted, abs=1e-6)


def test_attention_rows_sum_to_one_and_see_nothing_ahead(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    shown = cli([*models.fill("show attention {pretrain} text=cat"), "--json"], folder=tmp_path)
    assert shown.result["tokens"] == ["<begin>", "c", "a", "t"]
    for layer in shown.result["maps"]:
        for head in layer:
            for at, row in enumerate(head):
                assert sum(row) == pytest.approx(1.0, abs=1e-5)
                assert row[at + 1 :] == [0.0] * (3 - at)


def test_a_word_is_cut_by_the_merges_of_the_text(cli: Cli, tmp_path: Path) -> None:
    command = ["show", "merges", "text=aaab aab ab", "merges=2", "word=aaab", "--json"]
    shown = cli(command, folder=tmp_path).result
    # a+a and a+b stand 3 times each, of which the greater is first; then a+ab stands twice
    assert shown["steps"] == [
        {"merge": ["a", "b"], "count": 3, "tokens": 8},
        {"merge": ["a", "ab"], "count": 2, "tokens": 6},
    ]
    assert shown["cuts"] == [
        [0, ["a", "a", "a", "b"]], [1, ["a", "a", "ab"]], [2, ["a", "aab"]]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("show", "needs one more word"),
        ("show sampling prompt=the", "add base=RUN"),
        ("show sampling nowhere", "does not exist"),
        ("show sampling top_p=0", "top_p"),
        ("show sampling temperature=1e-44", "temperature too small"),
        ("show sampling out=no/page.html", "there is no folder no"),
        ("show rope head_width=7", "head_width"),
        ("show coordinates widths=64", "two or more multiples of 16"),
        ("show coordinates widths=64,72", "two or more multiples of 16"),
        ("show attention {pretrain} layer=1", "give both, or neither"),
        ("show attention {pretrain} layer=9 head=1", "has 1 layers of 2 heads"),
        ("show attention {reward}", "reward model"),
        ("show merges text= word=a", "the text is empty"),
        ("show merges tokenizer={pretrain}", "no merges"),
        ("show merges text=a data={text}", "choose one of them"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(
    command: str, said: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    assert said in cli(models.fill(command), folder=tmp_path).complaint
    assert not list(tmp_path.glob("*.html"))


def test_a_text_beyond_the_context_and_a_file_of_others_are_refused(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill("show attention {pretrain}"), f"text={'a' * 100}"]
    assert "reads 64 at most" in cli(words, folder=tmp_path).complaint
    (tmp_path / "rope.html").write_text("mine")
    assert "choose another `out`" in cli("show rope", folder=tmp_path).complaint
    assert (tmp_path / "rope.html").read_text() == "mine"
