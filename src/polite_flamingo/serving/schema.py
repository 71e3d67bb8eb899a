"""The protocol: what a body may hold, and the shapes of answers.

JSON is read strictly: UTF-8, no NaN or Infinity, bounded in depth. A field that OpenAI's protocol does not have is
refused (400), as theirs is; one that it has and we cannot do is refused unless its value asks for nothing; those that
change no answer (`user`, `metadata`, …) are taken and ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polite_flamingo.serving.faults import RefusedError
from polite_flamingo.serving.settings import ServingLimits

IGNORED = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls")
NOTHING: Mapping[str, tuple[Any, ...]] = {  # fields of the protocol that we cannot do: values that ask for nothing
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "verbosity": (None,),
    "web_search_options": (None,),
}
B = TypeVar("B", bound="RequestBody")


class RequestBody(BaseModel):
    """A body; JSON's types are not converted into each other."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class TextPart(RequestBody):
    """A text within a message."""

    type: Literal["text"]
    text: str


class ImageUrl(RequestBody):
    """Where an image is; data URLs alone are taken."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(RequestBody):
    """An image within a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class ChatMessage(RequestBody):
    """A turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]
    name: str | None = None
    refusal: None = None


class StreamOptions(RequestBody):
    """What a stream tells beside the text."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class DecodingFields(RequestBody):
    """Fields of decoding; what is left out is the model's own (greedy)."""

    model: str | None = Field(None, description="as /v1/models lists them; may be left out where one is served")
    max_tokens: int | None = Field(None, gt=0, le=1 << 20)
    min_tokens: int | None = Field(None, ge=0, le=1 << 20, description="ours: before which it does not end by itself")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1 << 20, description="ours")
    no_repeat_ngram_size: int | None = Field(None, ge=0, le=64, description="ours")
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)


class ChatBody(DecodingFields):
    """Of ``/v1/chat/completions``."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, gt=0, le=1 << 20)
    stop: str | list[str] | None = None
    n: int | None = Field(None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class RewriteBody(DecodingFields):
    """Of ``/v1/rewrite``."""

    question: str
    answer: str = Field(description="the terse answer, which is taken for true")
    images: list[str] = Field(default_factory=list, description="data URLs")
    task: str = "general"
    key: str = Field("", max_length=200, description="names the request; decides, with the seed, its random numbers")
    judge: bool = Field(True, description="tell every score and verdict of the filters")


def parse(body: bytes, shape: type[B], limits: ServingLimits) -> B:
    """Read a body.

    Raises:
        RefusedError: it is not JSON, or not of this shape.
    """
    sent = read_json_strictly(body, limits.depth, limits.values)
    if not isinstance(sent, dict):
        raise RefusedError(400, "the body is no JSON object", code="invalid_json")
    known = shape.model_fields
    for name in [name for name in sent if name not in known]:
        if shape is ChatBody and name in IGNORED:
            del sent[name]
        elif shape is ChatBody and name in NOTHING:
            value = sent.pop(name)
            if not any(value == nothing and type(value) is type(nothing) for nothing in NOTHING[name]):
                raise RefusedError(400, f"{name} is not supported", param=name, code="unsupported_parameter")
        else:
            shown = name[:80]
            raise RefusedError(400, f"unrecognized request argument: {shown}", param=shown, code="unknown_parameter")
    try:
        return shape.model_validate(sent)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        problem = max(problems, key=lambda one: len(one["loc"]))  # of a text or parts: the parts
        where = ".".join(str(part) for part in problem["loc"] if "[" not in str(part))
        raise RefusedError(400, f"{where[:200]}: {problem['msg']}", param=where[:200] or None) from None


def read_json_strictly(body: bytes, depth: int, values: int) -> Any:
    """JSON of UTF-8 without NaN and Infinity, not nested deeper than `depth`, of some `values`.

    Raises:
        RefusedError: it is none.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > values:
        raise RefusedError(400, f"the JSON has more than {values:,} values", code="invalid_json")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"the body is not UTF-8 (byte {error.start})", code="invalid_json") from None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise RefusedError(400, "the JSON is nested too deep", code="invalid_json") from None
    except ValueError as error:
        raise RefusedError(400, f"the body is not JSON: {str(error)[:120]}", code="invalid_json") from None
    if _deeper(value, depth):
        raise RefusedError(400, f"the JSON is nested deeper than {depth}", code="invalid_json")
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise RefusedError(400, "text holds half a character (a lone surrogate)", code="invalid_json") from None
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
