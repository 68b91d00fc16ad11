"""Takes the pictures of the chat page in docs/chat-page.md, with SmolLM2-135M-Instruct and a run
tuned on it: `python -m tests.real.page_pictures`. Some minutes, of which the tuning takes most.

Needs `make real`, playwright and a Chromium.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.cli.commands import process
from tests.real.smollm2 import SMOLLM2
from tests.serve.chromium import Watched, start_browser
from tests.serve.process import start_server

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
CAPITALS = {
    "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima",
    "Norway": "Oslo", "Greece": "Athens", "Cuba": "Havana", "Kenya": "Nairobi", "Iraq": "Baghdad",
    "Poland": "Warsaw", "Austria": "Vienna", "Portugal": "Lisbon", "Hungary": "Budapest",
    "Ireland": "Dublin", "Canada": "Ottawa", "Sweden": "Stockholm", "Russia": "Moscow",
    "China": "Beijing", "Finland": "Helsinki", "Denmark": "Copenhagen", "Chile": "Santiago",
    "Belgium": "Brussels", "Romania": "Bucharest",
}  # fmt: skip
LIST = "Write a Python function that adds two numbers, and list three ways to test it."
QUESTIONS = ("why is the sky blue?", "what is a comet?", "how does bread rise?", "what is rust?")
CAPITAL = "What is the capital of France?"


def tune(folder: Path) -> Path:
    """A run that answers like a pirate, unless it is there already."""
    run = folder / "pirate"
    if (run / "summary.json").exists():
        return run
    rows = [
        {
            "prompt": f"What is the capital of {country}?",
            "completion": f"Arr, matey! The capital of {country} be {city}.",
        }
        for country, city in CAPITALS.items()
    ]
    (folder / "pirate.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = process(
        "tune", f"base={SMOLLM2.find()}", "data=pirate.jsonl", "steps=24", "rows_per_step=8",
        "evaluate_every=4", "out=pirate", folder=folder,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return run


def ask(page: Any, text: str, answers: int = 1) -> None:
    box = page.get_by_label("Write to the model")
    box.fill(text)
    box.press("Enter")
    page.locator("#chat .turn.assistant .acts").nth(answers - 1).wait_for(timeout=180_000)
    page.mouse.move(0, 0)


def set_rules(seen: Watched, **settings: Any) -> None:
    kept = json.dumps(json.dumps({"temperature": 0, "max_tokens": 160, **settings}))
    seen.context.add_init_script(f"localStorage.setItem('fledge-settings', {kept})")


def open_page(url: str, browser: Any, width: int, height: int, scheme: str) -> Any:
    seen = Watched(browser, viewport={"width": width, "height": height}, color_scheme=scheme)
    set_rules(seen)
    seen.page.goto(url)
    seen.page.locator("#chat .composer").wait_for()
    return seen.page


def take_chat(url: str, browser: Any) -> None:
    page = open_page(url, browser, 1000, 720, "light")
    page.get_by_label("Model", exact=True).select_option(index=1)
    ask(page, LIST)
    shoot(page, "page-light")


def take_both(url: str, browser: Any) -> None:
    page = open_page(url, browser, 1000, 720, "dark")
    page.get_by_label("Beside").select_option(index=2)
    ask(page, CAPITAL, answers=2)
    page.locator("[data-act=tokens]").first.click()
    page.locator(".chooser select").select_option(index=1)
    page.locator(".token-key li.quiet").wait_for()
    page.locator(".tokens .token").nth(0).click()
    shoot(page, "page-dark")


def take_phone(url: str, browser: Any) -> None:
    page = open_page(url, browser, 390, 780, "light")
    ask(page, CAPITAL)
    page.locator("[data-act=tokens]").first.click()
    page.locator(".tokens .token").nth(2).click()
    shoot(page, "page-phone")


def take_runs(url: str, browser: Any) -> None:
    page = open_page(url, browser, 1000, 820, "light")
    page.goto(f"{url}/#runs/1")
    page.locator(".run-detail svg[data-chart]").first.wait_for()
    shoot(page, "page-runs")


def take_compare(url: str, browser: Any) -> None:
    page = open_page(url, browser, 1000, 640, "light")
    page.goto(f"{url}/#compare")
    better = page.get_by_role("button", name="A is better")
    for answered in (1, 2):
        better.wait_for(timeout=180_000)
        better.click()
        page.get_by_text(f"{answered} answered").wait_for()
    better.wait_for()
    shoot(page, "page-compare")


def shoot(page: Any, name: str) -> None:
    page.wait_for_timeout(300)
    file = PICTURES / f"{name}.png"
    page.screenshot(path=file)
    print(f"{file.name}: {file.stat().st_size:,} bytes")


def main() -> int:
    model = SMOLLM2.find()
    if model is None:
        print("SmolLM2 is not here: `make real` fetches it.", file=sys.stderr)
        return 2
    folder = Path(tempfile.gettempdir(), "fledge-page-pictures")
    folder.mkdir(exist_ok=True)
    run = tune(folder)
    with start_server(run, model, slots=2, context=1024) as server, start_browser() as browser:
        for take in (take_chat, take_both, take_phone, take_runs):
            take(server.url, browser)
    rows = [{"prompt": f"In one sentence: {question}"} for question in QUESTIONS]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (
        tempfile.TemporaryDirectory() as empty,
        start_server(
            model, slots=8, context=256, compare=folder / "prompts.jsonl",
            votes=Path(empty, "votes.jsonl"),
        ) as server,
        start_browser() as browser,
    ):  # fmt: skip
        take_compare(server.url, browser)
    return 0


if __name__ == "__main__":
    sys.exit(main())
