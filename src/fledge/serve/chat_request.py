"""What a chat completion is asked, made ready for the engine: its prompt, its constraint, and how
calls of tools are read out of its answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from fledge.engine.constraint import Constraint
from fledge.engine.request import Request
from fledge.errors import UserError
from fledge.serve.api_errors import ApiError
from fledge.serve.asking import list_stop_tokens, make_requests
from fledge.serve.conversation import encode_chat, read_messages
from fledge.serve.encoding import check_messages
from fledge.serve.served import Served
from fledge.serve.structure import build_constraint, list_tool_names
from fledge.serve.wire import ChatBody, Sampling
from fledge.text.tool_calls import ToolCallReader, ToolForm, choose_form, state_form

# The fields that ask for structure, beside `response_format`: an error names the one it means.
_STRUCTURE = (
    "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
    "stop_token_ids", "tool_choice", "tools",
)  # fmt: skip


@dataclass(frozen=True)
class ChatRequest:
    """requests: one a choice. begin: tokens that each answer begins with. form, names: of the tools
    that may be called; None where there are none.
    """

    requests: list[Request]
    begin: list[int]
    form: ToolForm | None
    names: list[str]

    def read_calls(self) -> ToolCallReader | None:
        """A reader for one answer."""
        return None if self.form is None else ToolCallReader(self.form, self.names)


def prepare_chat(body: ChatBody, served: Served) -> ChatRequest:
    """Long texts and schemas take a while: asked for in a thread of its own. Raises ApiError."""
    if body.top_logprobs and not body.logprobs:
        raise ApiError(
            400, "`top_logprobs` was given without `logprobs`: give `logprobs: true`.",
            param="top_logprobs",
        )  # fmt: skip
    constraint = constrain(body, served)
    begin = read_begin(body, served)
    if begin and constraint is not None:
        raise ApiError(
            400, "`continue_tokens` came with a structure that the answer has to have from its "
            "first token on: leave one of them out.", param="continue_tokens",
        )  # fmt: skip
    names = list_tool_names(body.model_dump(exclude_none=True))
    form = choose_form(served.tokenizer) if names else None
    messages = read_messages(body.messages)
    check_messages(served, messages, body.tools if names else None)
    if form is not None:
        messages = state_form(messages, form)
    prompt = encode_chat(served.tokenizer, messages, body.tools if names else None)
    requests = make_requests(
        body, served, [prompt + begin], count=body.n or 1,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        alternatives=body.top_logprobs or 0, constraint=constraint,
    )  # fmt: skip
    return ChatRequest(requests, begin, form, names)


def constrain(body: Sampling, served: Served) -> Constraint | None:
    """Raises ApiError for a structure that no answer can have."""
    try:
        given = body.model_dump(exclude_none=True)
        return build_constraint(given, served.tokenizer, list_stop_tokens(body, served))
    except UserError as error:
        message = str(error)
        param = next((name for name in _STRUCTURE if name in message), "response_format")
        raise ApiError(400, message, param=param) from None


def read_begin(body: ChatBody, served: Served) -> list[int]:
    """Raises ApiError for tokens that an answer cannot begin with."""
    begin = list(body.continue_tokens or ())
    if any(not 0 <= token < served.vocab_size for token in begin):
        raise ApiError(
            400, f"`continue_tokens` has a token beyond the {served.vocab_size:,} of the model.",
            param="continue_tokens",
        )  # fmt: skip
    return begin
