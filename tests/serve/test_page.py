"""The chat page in a real browser, against a real server process: what a person does with it, and
that nothing that a model, a prompt or a run's name says is anything but text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fledge.runs.folder import Run
from tests.serve.chromium import Watched, start_browser
from tests.serve.parrots import log_figures, make_parrot, make_tokenizer, save_judge, save_run
from tests.serve.process import start_server

HOSTILE = '<img src=x onerror="hacked=1"><script>hacked=1</script>[run](javascript:hacked=1)'
PLAIN = "# Title\n\n**bold** and `code`\n\n```python\nprint(1)\n```\n\n- one\n- two"
GREEDY = """localStorage.getItem("fledge-settings")
  ?? localStorage.setItem("fledge-settings", '{"temperature": 0}')"""
NAME = "plain <b>bold<script>hacked"  # a folder, and a model


class House(NamedTuple):
    url: str
    folder: Path
    open: Callable[..., Watched]
    under_way: Run


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server with two models, a reward model and a run under way, and one browser."""
    folder = tmp_path_factory.mktemp("page")
    with start_browser() as browser:
        tokenizer = make_tokenizer(HOSTILE, PLAIN)
        plain = save_run(folder / NAME, "tune", make_parrot(tokenizer, PLAIN), loss=1.5)
        odd = {HOSTILE: 0.25}
        hostile = save_run(
            folder / "hostile", "prefer", make_parrot(tokenizer, HOSTILE), parents=(plain,),
            loss=0.5, **odd,
        )  # fmt: skip
        judge = save_judge(folder / "judge", tokenizer)
        under_way = Run.create(
            folder / "hostile" / "more", "align", {}, seed=0, parents=(hostile,), command="fledge"
        )
        log_figures(under_way, range(3), reward=0.5)
        opened: list[Watched] = []

        def open_page(path: str = "/", **context: Any) -> Watched:
            seen = Watched(browser, **{"viewport": {"width": 1180, "height": 800}, **context})
            seen.context.add_init_script(GREEDY)
            opened.append(seen)
            seen.page.goto(server.url + path)
            return seen

        with start_server(
            hostile, plain, judge,
            votes=folder / "votes.jsonl", thumbs=folder / "thumbs.jsonl", slots=4,
        ) as server:  # fmt: skip
            yield House(server.url, folder, open_page, under_way)
        for seen in opened:
            assert seen.troubles == []
            assert {host.split(":")[0] for host in seen.hosts} <= {"127.0.0.1"}
    under_way.close()


def ask(page: Any, text: str, *, model: str | None = None, answers: int = 1) -> None:
    """Write and send, and wait for as many whole answers."""
    if model is not None:
        page.get_by_label("Model", exact=True).select_option(model)
    box = page.get_by_label("Write to the model")
    box.fill(text)
    box.press("Enter")
    page.locator(".turn.assistant .acts").nth(answers - 1).wait_for()


def last_answer(page: Any) -> Any:
    return page.locator("#chat .turn.assistant .said").last


def is_hacked(page: Any) -> bool:
    return page.evaluate("() => 'hacked' in window")


def test_a_conversation_is_shown_as_it_comes_and_markdown_as_such(house: House) -> None:
    page = house.open().page
    ask(page, "hello", model=NAME)
    said = last_answer(page)
    assert said.locator("h3").inner_text() == "Title"
    assert said.locator("strong").inner_text() == "bold"
    assert said.locator("pre code").inner_text() == "print(1)"
    assert said.locator("li").all_inner_texts() == ["one", "two"]
    ask(page, "and now?", answers=2)
    page.reload()  # what was said is there again
    assert page.locator("#chat .turn").count() == 4


def test_what_is_hostile_in_prompt_answer_and_edited_turn_is_text(house: House) -> None:
    page = house.open().page
    ask(page, HOSTILE, model="hostile")
    said = last_answer(page)
    assert page.locator("#chat .turn.user .said").inner_text() == HOSTILE
    assert said.inner_text() == HOSTILE
    assert said.locator("img, script, a").count() == 0
    page.locator("[data-act=edit]").last.click()
    page.get_by_label("New wording").fill("\x1b[31m \u202e" + HOSTILE)
    page.get_by_role("button", name="Let it have said this").click()
    assert said.inner_text() == "\\x1b[31m \\u202e" + HOSTILE
    assert not is_hacked(page)


def test_editing_and_asking_again_make_branches_that_one_goes_between(house: House) -> None:
    page = house.open().page
    ask(page, "hello", model=NAME)
    page.locator(".turn.user [data-act=edit]").click()
    page.get_by_label("New wording").fill("say it")
    page.get_by_role("button", name="Ask this instead").click()
    page.locator(".turn.user .branches", has_text="2/2").wait_for()
    page.locator(".turn.assistant .acts").wait_for()
    page.locator(".turn.user").get_by_label("Earlier branch").click()
    assert page.locator(".turn.user .said").inner_text() == "hello"
    page.locator(".turn.assistant [data-act=again]").click()
    page.locator(".turn.assistant .branches", has_text="2/2").wait_for()
    page.locator(".turn.user").get_by_label("Later branch").click()
    assert page.locator(".turn.user .said").inner_text() == "say it"


def test_tokens_show_alternatives_and_one_of_them_goes_on(house: House) -> None:
    page = house.open().page
    ask(page, "hello", model="hostile")
    page.locator("[data-act=tokens]").click()
    tokens = page.locator(".tokens .token")
    tokens.first.wait_for()
    assert "".join(tokens.all_inner_texts()).removesuffix("■") == HOSTILE
    tokens.nth(2).click()
    assert page.locator(".token-panel .said .word").inner_text().strip("‘’") in HOSTILE
    # by keyboard: to the next token, and its alternatives
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert tokens.nth(3).get_attribute("aria-pressed") == "true"
    page.locator(".chooser select").select_option(NAME)
    page.get_by_text("log-ratio").first.wait_for()
    tokens.nth(1).click()
    other = page.locator(".alternatives li:not(.said) button.word").first
    word = other.inner_text().strip("‘’").replace("⏎", "\n")
    begun = tokens.nth(0).inner_text() + word
    other.click()
    page.locator(".turn.assistant .branches", has_text="2/2").wait_for()
    page.locator(".turn.assistant .acts").wait_for()
    page.locator("[data-act=tokens]").click()
    tokens.first.wait_for()
    said = [text.replace("⏎", "\n") for text in tokens.all_inner_texts()]
    assert "".join(said).startswith(begun)
    assert not is_hacked(page)


def test_two_models_answer_side_by_side_and_the_reward_model_scores(house: House) -> None:
    page = house.open().page
    page.get_by_label("Model", exact=True).select_option("hostile")
    page.get_by_label("Beside").select_option(NAME)
    ask(page, "hello", answers=2)
    columns = page.locator("#chat .column")
    assert columns.nth(0).locator(".turn.assistant .said").inner_text() == HOSTILE
    assert columns.nth(1).locator(".turn.assistant h3", has_text="Title").count() == 1
    seeds = page.locator("#chat .note").all_inner_texts()
    assert len({text.split("seed ")[1].split(" ")[0] for text in seeds}) == 1
    columns.nth(0).get_by_role("button", name="Score").click()
    columns.nth(0).get_by_text("judge: ").wait_for()


def test_votes_are_blind_and_kept_and_thumbs_too(house: House) -> None:
    page = house.open("/#vote").page
    box = page.get_by_label("Ask both")
    box.fill("hello")
    box.press("Enter")
    page.get_by_role("button", name="Left is better").click()
    page.locator(".verdict-bar", has_text="Kept.").wait_for()
    [row] = read_rows(house.folder / "votes.jsonl")
    left = page.locator("#vote .turn.assistant .said").first
    assert row["prompt"] == [{"role": "user", "content": "hello"}]
    is_plain = left.locator("h3").count() == 1
    chosen, rejected = (PLAIN, HOSTILE) if is_plain else (HOSTILE, PLAIN)
    assert row["chosen"] == [{"role": "assistant", "content": chosen}]
    assert row["rejected"] == [{"role": "assistant", "content": rejected}]
    named = [NAME, "hostile"] if is_plain else ["hostile", NAME]
    assert row["metadata"]["models"] == named
    assert page.locator(".verdict-bar strong").all_inner_texts() == named

    page = house.open().page
    ask(page, "hello", model="hostile")
    page.get_by_role("button", name="Bad").click()
    page.locator("[data-act=bad][aria-pressed=true]").wait_for()
    [row] = read_rows(house.folder / "thumbs.jsonl")
    assert row["label"] is False
    assert row["completion"] == [{"role": "assistant", "content": HOSTILE}]


def read_rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_runs_are_drawn_with_curves_that_grow_and_a_report(house: House) -> None:
    seen = house.open("/#runs")
    page = seen.page
    cards = page.locator(".lineage .card strong")
    cards.first.wait_for()
    names = cards.all_inner_texts()
    assert [name.split("/")[-1] for name in names] == [NAME, "hostile", "more", "judge"]
    assert page.locator(".lineage path.edge").count() == 2
    page.locator("a.card", has_text="hostile/more").click()
    page.locator(".run-detail figure", has_text="Reward").wait_for()
    assert "2 steps" in page.locator(".run-detail .status").inner_text()
    log_figures(house.under_way, range(3, 9), reward=0.5)
    page.locator(".run-detail .status", has_text="8 steps").wait_for()
    page.locator("a.card", has_text="prefer").click()
    page.get_by_text("More figures").click()
    page.locator(".run-detail figure", has_text="onerror").wait_for()
    with seen.context.expect_page() as opened:
        page.get_by_role("link", name="Report").click()
    report = opened.value
    report.locator("h1").wait_for()
    assert report.locator("svg path.line").count() > 0
    assert not is_hacked(page)
    assert not is_hacked(report)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_all_of_it_without_scrolling_sideways(house: House, scheme: str) -> None:
    page = house.open(viewport={"width": 390, "height": 800}, color_scheme=scheme).page
    page.get_by_label("Beside").select_option("hostile")
    ask(page, "hello", model=NAME, answers=2)
    page.locator("[data-act=tokens]").first.click()
    page.locator(".tokens .token").nth(3).click()
    for view in ("chat", "vote", "runs"):
        page.goto(f"{house.url}/#{view}")
        page.locator(f"#{view}").wait_for()
        wide = "() => [document.documentElement.scrollWidth, document.body.scrollWidth]"
        assert page.evaluate(wide) == [390, 390]
    paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in paper[4:-1].split(",")) / 3
    assert (brightness < 60) == (scheme == "dark")


def test_the_first_paint_comes_soon_and_the_page_is_small(house: House) -> None:
    seen = house.open()
    seen.page.locator("#chat .composer").wait_for()
    paints = "() => performance.getEntriesByType('paint').map((one) => one.startTime)"
    # 0.3 s is the aim on a machine that has nothing else to do.
    assert 0 < min(seen.page.evaluate(paints)) < 3000
    page = Path(__file__).parents[2] / "src" / "fledge" / "serve" / "page"
    report = page.parents[1] / "report"
    files = [*page.glob("*.js"), *page.glob("*.css"), report / "report.js", report / "report.css"]
    assert sum(file.stat().st_size for file in files) <= 120_000
    assert all("innerHTML" not in file.read_text() for file in files)


def test_an_answer_is_stopped_and_an_error_is_said(house: House) -> None:
    seen = house.open()
    page = seen.page
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Longest answer").fill("400")
    page.get_by_label("Temperature").fill("2")
    page.get_by_label("Seed").fill("7")  # of a long answer, where chance has it this way
    page.get_by_role("button", name="Keep").click()
    page.get_by_label("Write to the model").fill("hello")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Stop").click()
    page.locator("#chat .note", has_text="stopped").wait_for()
    ask(page, "long " * 600, answers=2)
    assert "tokens" in page.locator("#chat .failure").inner_text()
    assert "400" in seen.troubles.pop()  # which the browser says in its console
