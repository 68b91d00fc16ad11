"""The page of a server with a key: it asks for it once, and reports come as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serve.chromium import Watched, start_browser
from tests.serve.parrots import make_parrot, make_tokenizer, save_run
from tests.serve.process import start_server

KEY = "a-key-of-some-length"


@pytest.mark.slow
def test_the_page_asks_for_the_key_once(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", "tune", make_parrot(make_tokenizer("yes"), "yes", steps=20))
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    with start_browser() as browser, start_server(run, key_file=key) as server:
        seen = Watched(browser)
        page = seen.page
        page.goto(server.url)
        field = page.get_by_label("Key", exact=True)
        field.fill("another-key-of-that-length")
        field.press("Enter")
        page.get_by_text("is not the server's").wait_for()
        field.fill(KEY)
        page.get_by_role("button", name="Use it").click()
        box = page.get_by_label("Write to the model")
        box.fill("hello")
        box.press("Enter")
        page.locator(".turn.assistant .acts").wait_for()
        page.reload()
        page.locator(".turn.assistant .acts").wait_for()
        page.goto(f"{server.url}/#runs/1")
        with page.expect_download() as download:
            page.get_by_role("button", name="Report").click()
        assert "<h1" in Path(download.value.path()).read_text()
        assert all("401" in trouble for trouble in seen.troubles), seen.troubles
