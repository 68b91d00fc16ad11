"""A speaker behind an endpoint that speaks OpenAI's API: /v1/chat/completions for conversations,
/v1/completions for texts. https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from fledge.engine.completions_api import read_message
from fledge.errors import UserError
from fledge.prompting.speaker import Prompt, Saying

KEY = "OPENAI_API_KEY"
AT_ONCE = 16
PAUSES_S = (0.25, 0.5, 1.0, 2.0)  # before a request is sent again
SILENCE_S = 600.0  # after which it is given up


class EndpointSpeaker:
    """model: as the endpoint calls it; None takes the only one that it serves. The key, where it
    wants one, is in the variable OPENAI_API_KEY.

    Raises UserError where nothing answers there.
    """

    def __init__(self, url: str, model: str | None = None) -> None:
        parts = urlsplit(url)
        try:
            self.host, self.port = parts.hostname or "", parts.port
        except ValueError:
            self.host = ""
        if parts.scheme not in ("http", "https") or not self.host:
            raise UserError(f"{url} was given: an endpoint looks like http://localhost:8000.")
        self.url, self.root = url, parts.path.rstrip("/").removesuffix("/v1")
        self.secure = parts.scheme == "https"
        self.headers = {"Content-Type": "application/json"}
        if os.environ.get(KEY):
            self.headers["Authorization"] = f"Bearer {os.environ[KEY]}"
        self.model = model or self._find_only_model()
        self.name = f"{self.model} at {url}"

    def say(self, prompts: Sequence[Prompt], saying: Saying) -> list[str]:
        """Raises UserError for a request that is refused, or not answered after five tries."""
        numbered = enumerate(prompts)
        with ThreadPoolExecutor(min(AT_ONCE, max(1, len(prompts)))) as threads:
            return list(threads.map(lambda each: self._say_one(each[0], each[1], saying), numbered))

    def _say_one(self, place: int, prompt: Prompt, saying: Saying) -> str:
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": saying.max_new_tokens,
            "temperature": saying.temperature,
            "seed": saying.seed * 1_000_003 + place,  # the same prompt given twice: two draws
        }
        if saying.stop:
            body["stop"] = list(saying.stop)
        if isinstance(prompt, str):
            answer = self._post("/v1/completions", body | {"prompt": prompt})
        else:
            turns = [{"role": each["role"], "content": each["content"]} for each in prompt]
            if saying.json_schema is not None:
                schema = {"name": "answer", "schema": saying.json_schema}
                body["response_format"] = {"type": "json_schema", "json_schema": schema}
            answer = self._post("/v1/chat/completions", body | {"messages": turns})
        try:
            choice = answer["choices"][0]
            text = choice["text"] if isinstance(prompt, str) else choice["message"]["content"]
            return str(text or "").strip()
        except (LookupError, TypeError) as error:
            raise UserError(
                f"{self.url} answered in a form that is not OpenAI's ({error!r}): is it the URL of "
                "an endpoint?"
            ) from None

    def _find_only_model(self) -> str:
        answer = self._ask("GET", "/v1/models", None)
        try:
            names = [str(each["id"]) for each in answer["data"]]
        except (LookupError, TypeError):
            names = []
        if len(names) != 1:
            raise UserError(
                f"{self.url} serves {len(names)} models ({', '.join(names[:10])}): name one by "
                "served_model=…."
            )
        return names[0]

    def _post(self, place: str, body: dict[str, Any]) -> Any:
        return self._ask("POST", place, json.dumps(body).encode())

    def _ask(self, method: str, place: str, body: bytes | None) -> Any:
        kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        said = ""
        for pause in (*PAUSES_S, None):
            connection = kind(self.host, self.port, timeout=SILENCE_S)
            try:
                connection.request(method, f"{self.root}{place}", body, self.headers)
                response = connection.getresponse()
                text = response.read()
                if response.status == 200:
                    return json.loads(text)
                said = f"HTTP {response.status}: {read_message(text)}"
                if response.status < 500 and response.status != 429:
                    raise UserError(f"{self.url} refused {place} ({said})")
            except (OSError, http.client.HTTPException, ValueError) as error:
                said = str(error) or type(error).__name__
            finally:
                connection.close()
            if pause is not None:
                time.sleep(pause)
        raise UserError(
            f"{self.url} does not answer {place} ({said}): start an endpoint there, or give the "
            "URL of one."
        )
