"""An endpoint whose every answer is known: a real HTTP server that speaks OpenAI's API by a
function of the test's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[dict[str, Any]], str | int]


class ScriptedEndpoint:
    """script: a request's body to what is said, or to an HTTP status that is answered instead."""

    def __init__(self, script: Script, models: tuple[str, ...] = ("scripted",)) -> None:
        self.script, self.models = script, models
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def __enter__(self) -> ScriptedEndpoint:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, {"data": [{"id": name} for name in endpoint.models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.bodies.append(body)
                endpoint.headers.append(dict(self.headers))
                said = endpoint.script(body)
                if isinstance(said, int):
                    self.answer(said, {"error": {"message": f"status {said}"}})
                elif self.path == "/v1/chat/completions":
                    message = {"role": "assistant", "content": cut(said, body)}
                    self.answer(200, {"choices": [{"message": message}]})
                else:
                    assert self.path == "/v1/completions"
                    self.answer(200, {"choices": [{"text": cut(said, body)}]})

            def answer(self, status: int, value: Any) -> None:
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def cut(text: str, body: dict[str, Any]) -> str:
    """As far as the first stop text, as endpoints do it."""
    places = [text.find(stop) for stop in body.get("stop", ())]
    return text[: min([place for place in places if place >= 0], default=len(text))]


def last_of(body: dict[str, Any]) -> str:
    """What the user said last, or the text that is to be gone on with."""
    return body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
