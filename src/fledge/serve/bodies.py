"""A request's body: JSON, of its model, or one sentence about the first field that is wrong."""

from __future__ import annotations

import difflib
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from fledge.serve.answering import Gone
from fledge.serve.api_errors import ApiError

Model = TypeVar("Model", bound=BaseModel)

# Fields of OpenAI's API that would change the answer, and are not known here.
_REFUSED = {
    "audio": "only text is answered",
    "modalities": "only text is answered",
    "functions": "give `tools`",
    "function_call": "give `tool_choice`",
    "prediction": "nothing is predicted here",
    "web_search_options": "nothing is searched here",
    "previous_response_id": "nothing is kept: send the whole conversation as `input`",
    "conversation": "nothing is kept: send the whole conversation as `input`",
    "background": "nothing is kept: wait for the answer, or stream it",
    "reasoning": "there are no settings for reasoning",
    "reasoning_effort": "there are no settings for reasoning",
}


async def read_body(request: Request, model: type[Model]) -> Model:
    """Raises ApiError, and Gone if the client goes before all of it has come."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415,
            f"the body is of the type {kind[:80] or 'that no header names'}: send JSON, with the "
            "header `content-type: application/json`.",
        )
    try:
        content = await request.body()
    except ClientDisconnect:
        raise Gone from None
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise explain(error, model) from None


def explain(error: ValidationError, model: type[BaseModel]) -> ApiError:
    """The first thing that is wrong, in one sentence."""
    wrong = error.errors(include_url=False, include_context=False)[0]
    where = [str(part) for part in wrong["loc"]]
    field = where[0] if where else None
    said = str(wrong["msg"]).removeprefix("Value error, ")
    said = said[:1].lower() + said[1:]
    if wrong["type"] == "json_invalid":
        return ApiError(400, f"the body is no JSON: {said.removeprefix('invalid JSON: ')}.")
    if wrong["type"] == "missing":
        return ApiError(400, f"`{'.'.join(where)}` is missing: it has to be there.", param=field)
    if wrong["type"] == "extra_forbidden" and field is not None:
        name = ".".join(where)[:100]
        if field in _REFUSED:
            return ApiError(400, f"`{name}` was given, and {_REFUSED[field]}.", param=field[:100])
        near = difflib.get_close_matches(where[-1][:100], model.model_fields, n=1)
        hint = f" Perhaps you meant `{near[0]}`." if near else " Leave it out."
        message = f"`{name}` is no field that this server knows.{hint}"
        return ApiError(400, message, param=field[:100], code="unknown_parameter")
    name = ".".join(part for part in where if part == field or part.isdigit())
    given = repr(wrong.get("input"))
    shown = given if len(given) <= 60 else given[:60] + "…"
    about = f"`{name}` was {shown}" if name else f"the body was {shown}"
    return ApiError(400, f"{about}: {said}.", param=field, code="invalid_value")
