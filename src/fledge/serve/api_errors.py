"""What went wrong, as OpenAI's API says it: https://platform.openai.com/docs/guides/error-codes.
Every answer that is no success has this form, those of the HTTP layer too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "server_error",
}


class ApiError(Exception):
    """Said to the client. param: the field that is meant. code: a word for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message if message.endswith(".") else message + "."
        self.status, self.param, self.code = status, param, code
        self.headers = dict(headers or {})

    def rename(self, rename: Callable[[str], str]) -> ApiError:
        """The same, in other words for the fields."""
        param = None if self.param is None else rename(f"`{self.param}`").strip("`")
        return ApiError(
            self.status, rename(self.message), param=param, code=self.code, headers=self.headers
        )

    def to_dict(self) -> dict[str, Any]:
        kind = _KINDS.get(self.status, "invalid_request_error")
        said = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": said}

    def to_json(self) -> bytes:
        return json.dumps(self.to_dict(), ensure_ascii=False).encode("utf-8", "replace")

    def to_response(self) -> Response:
        return Response(self.to_json(), self.status, self.headers, "application/json")
