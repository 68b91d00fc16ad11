"""The chat page, and what it asks for beyond OpenAI's API, all of it under /fledge/."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from fledge.runs.lineage import run_of
from fledge.serve.answering import measure
from fledge.serve.api_errors import ApiError
from fledge.serve.bodies import read_body
from fledge.serve.comparison_routes import add_comparisons
from fledge.serve.guard import POLICY
from fledge.serve.players import GameBody
from fledge.serve.runs_view import RunsView, find_reference
from fledge.serve.served import Served
from fledge.serve.service import Service
from fledge.serve.token_view import (
    ScoreBody,
    TokensBody,
    TokenWords,
    open_answer,
    open_tokens,
    score_answer,
    score_tokens,
    tell_tokens,
)
from fledge.serve.votes import ThumbBody, VoteBody, VoteFile, make_judged_answer, make_preference

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing that parses markup or code out of a string works on the page at all.
PAGE_POLICY = f"{POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"
# A report has its style and script inside, and a policy with their digest; here it may run that
# script and reach nothing.
REPORT_POLICY = "sandbox allow-scripts allow-popups; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class PageFile:
    content: bytes
    headers: dict[str, str]

    def answer(self, request: Request) -> Response:
        """304 where the browser has it already."""
        if request.headers.get("if-none-match") == self.headers["etag"]:
            return Response(status_code=304, headers=self.headers)
        return Response(self.content, headers=self.headers)


def read_page() -> dict[str, PageFile]:
    """The files of the page by name, with the reports' style and script, which it shares."""
    page = resources.files("fledge.serve") / "page"
    report = resources.files("fledge.report")
    files = [each for each in page.iterdir() if Path(each.name).suffix in _KINDS]
    files += [report / "report.css", report / "report.js"]
    return {file.name: make_page_file(file.name, file.read_bytes()) for file in files}


def make_page_file(name: str, content: bytes) -> PageFile:
    headers = {
        "content-type": _KINDS[Path(name).suffix],
        "cache-control": "no-cache",
        "etag": f'"{hashlib.sha256(content).hexdigest()[:20]}"',
        "content-security-policy": PAGE_POLICY,
    }
    return PageFile(content, headers)


def make_router(service: Service) -> APIRouter:
    router = APIRouter()
    add_page(router)
    add_models(router, service)
    add_verdicts(router, service)
    add_comparisons(router, service)
    add_runs(router, service)
    add_players(router, service)
    return router


def add_page(router: APIRouter) -> None:
    files = read_page()

    @router.get("/")
    async def show_page(request: Request) -> Response:
        return files["index.html"].answer(request)

    @router.get("/favicon.ico")
    async def show_icon(request: Request) -> Response:
        return files["icon.svg"].answer(request)

    @router.get("/page/{name}")
    async def show_file(name: str, request: Request) -> Response:
        if name not in files:
            raise ApiError(404, f"the page has no file {name[:80]!r}.")
        return files[name].answer(request)


def add_models(router: APIRouter, service: Service) -> None:
    served, options = service.served, service.options
    words = {name: TokenWords(one) for name, one in served.models.items()}

    @router.get("/fledge/models")
    async def tell_models() -> Response:
        about: dict[str, Any] = {
            "models": list_models(served.models),
            "reward_models": list(served.rewards),
            "players": [player.tell() for player in served.players.values()],
            "votes": options.votes is not None,
            "thumbs": options.thumbs is not None,
            "compare": service.comparisons is not None,
        }
        return JSONResponse(about)

    @router.post("/fledge/tokens")
    async def show_tokens(request: Request) -> Response:
        body = await read_body(request, TokensBody)
        one = served.find(body.model)
        other = None if body.against is None else served.find(body.against)
        if other is not None and read_vocabulary(other) != read_vocabulary(one):
            raise ApiError(
                400,
                f"{one.name} and {other.name} have other tokens: only models of one tokenizer "
                "can be compared token by token.",
                param="against",
            )

        prompt, said = await run_in_threadpool(open_tokens, body, one, other)
        own, *against = [
            (await measure(request, service, each, [partial(score_tokens, each, prompt, said)]))[0]
            for each in (one, other)
            if each is not None
        ]
        tokens = tell_tokens(said, own, against[0] if against else None, words[one.name])
        return JSONResponse({"tokens": tokens, "against": None if other is None else other.name})

    @router.post("/fledge/score")
    async def score(request: Request) -> Response:
        body = await read_body(request, ScoreBody)
        if body.reward_model not in served.rewards:
            known = ", ".join(served.rewards) or "none: name one when the server is started"
            raise ApiError(
                404,
                f"there is no reward model {body.reward_model[:100]!r} here: there is {known}.",
                param="reward_model",
            )
        judge = served.rewards[body.reward_model]
        row = await run_in_threadpool(open_answer, body, judge)
        # It has no engine of its own: in the thread of one that has the processor anyhow.
        function = partial(score_answer, judge, row)
        [said] = await measure(request, service, served.default, [function])
        return JSONResponse({"score": said})


def list_models(models: Any) -> list[dict[str, Any]]:
    """Of each its name, what it says tokens are, and which of the others it started from."""
    folders = {run_of(one.loaded.folder.resolve()): name for name, one in models.items()}
    return [
        {
            "name": name,
            "vocabulary": read_vocabulary(one),
            "reference": find_reference(one.loaded.folder.resolve(), folders),
            "positions": one.positions,
        }
        for name, one in models.items()
    ]


def read_vocabulary(one: Served) -> str:
    return one.tokenizer.fingerprint()


def add_verdicts(router: APIRouter, service: Service) -> None:
    kept = service.comparisons
    votes = VoteFile(service.options.votes, "votes") if kept is None else kept.votes
    thumbs = VoteFile(service.options.thumbs, "thumbs")

    @router.post("/fledge/votes")
    async def keep_vote(request: Request) -> Response:
        row = make_preference(await read_body(request, VoteBody))
        await run_in_threadpool(votes.add, row)
        if kept is not None:
            await run_in_threadpool(kept.learn, row)
        return JSONResponse({"kept": True})

    @router.post("/fledge/thumbs")
    async def keep_thumb(request: Request) -> Response:
        row = make_judged_answer(await read_body(request, ThumbBody))
        await run_in_threadpool(thumbs.add, row)
        return JSONResponse({"kept": True})


def add_players(router: APIRouter, service: Service) -> None:
    @router.post("/fledge/game")
    async def play(request: Request) -> Response:
        body = await read_body(request, GameBody)
        player = service.served.find_player(body.player)
        return JSONResponse(await run_in_threadpool(player.answer, body))


def add_runs(router: APIRouter, service: Service) -> None:
    view = RunsView(service.options.folders)

    @router.get("/fledge/runs")
    @router.get("/fledge/lineage")
    async def tell_lineage() -> Response:
        return JSONResponse({"runs": await run_in_threadpool(view.tell_lineage)})

    @router.get("/fledge/runs/{number}/metrics")
    async def tell_curves(number: str, request: Request) -> Response:
        rows = request.query_params.get("rows", "")
        known = int(rows) if is_count(rows) else None
        return JSONResponse(await run_in_threadpool(view.tell_curves, read_number(number), known))

    @router.get("/fledge/runs/{number}/report")
    async def show_report(number: str) -> Response:
        page = await run_in_threadpool(view.render_report, read_number(number))
        headers = {"content-security-policy": REPORT_POLICY, "cache-control": "no-store"}
        return Response(page, media_type="text/html", headers=headers)


def is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12


def read_number(text: str) -> int:
    """Raises ApiError."""
    if not is_count(text):
        raise ApiError(404, f"{text[:40]!r} is no number of a run: /fledge/lineage lists them.")
    return int(text)
