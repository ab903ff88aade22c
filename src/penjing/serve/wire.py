"""Requests as the OpenAI API has them. What becomes of fields that are not declared here is in `options`."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, FailFast, Field
from typing_extensions import TypeAliasType


def whole(text: str) -> str:
    """Refuse half of a pair of surrogates, which JSON can spell and no text is, and the character of nothing."""
    if "\0" in text:
        raise ValueError("a text with a NUL character")
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        raise ValueError("a text with half a character") from None
    return text


Text = Annotated[str, AfterValidator(whole)]
TokenId = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
Texts = TypeAliasType("Texts", Annotated[list[Text], FailFast()])
"""Without `FailFast`, half a million wrong values are half a million errors of a kilobyte each."""
TokenIds = TypeAliasType("TokenIds", Annotated[list[TokenId], FailFast()])
ListsOfTokenIds = TypeAliasType("ListsOfTokenIds", Annotated[list[TokenIds], FailFast()])
Stops = TypeAliasType("Stops", Annotated[list[Text], FailFast(), Field(max_length=16)])


MOST_FIELDS = 32
"""Fields that a search may be narrowed by."""


def _few(fields: Any) -> Any:
    """Refuse too many fields before each of them is looked at."""
    if isinstance(fields, dict) and len(fields) > MOST_FIELDS:
        raise ValueError(f"more than {MOST_FIELDS} fields")
    return fields


class Request(BaseModel):
    """What every request has in common: undeclared fields are kept, to be refused or ignored by name."""

    model_config = ConfigDict(extra="allow")

    @property
    def undeclared(self) -> dict[str, Any]:
        """Fields that are not declared, with their values."""
        return self.model_extra or {}


class Embeddings(Request):
    """Texts, data URIs of pictures and sounds, or token ids of texts, to embed."""

    model: Text
    input: Text | Texts | TokenIds | ListsOfTokenIds
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)


class Link(BaseModel):
    """A picture as a data URI."""

    url: Text


class Sound(BaseModel):
    """A sound as base64."""

    data: Text
    format: Text = "wav"


class Part(BaseModel):
    """A part of what somebody says: text, a picture or a sound."""

    type: Literal["text", "image_url", "input_audio"]
    text: Text | None = None
    image_url: Link | None = None
    input_audio: Sound | None = None


Parts = TypeAliasType("Parts", Annotated[list[Part], FailFast(), Field(max_length=1000)])


class Said(Request):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Parts | None = None


class Streaming(Request):
    """What a stream tells beside its text."""

    include_usage: bool = False


class Chat(Request):
    """A conversation to answer."""

    model: Text
    messages: Annotated[list[Said], FailFast()] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: Literal[1] | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: Text | Stops | None = None
    stream: bool | None = None
    stream_options: Streaming | None = None


class Search(Request):
    """What is looked for in an index: a text, or the data URI of a picture or a sound."""

    query: Text
    k: int = Field(10, ge=1, le=1000)
    path: Text | None = Field(None, max_length=255)
    kind: Literal["image", "audio", "text"] | None = None
    where: Annotated[dict[Text, Text], BeforeValidator(_few)] = Field(default_factory=dict)


def event(document: Document) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


def texts_of(stop: str | list[str] | None) -> tuple[str, ...]:
    """Texts that end an answer."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


Document = dict[str, Any]
