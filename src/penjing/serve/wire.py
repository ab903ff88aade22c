"""Requests as the OpenAI API has them. Fields that are not known are ignored, as other servers do."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


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


class Request(BaseModel):
    """What every request has in common."""

    model_config = ConfigDict(extra="ignore")


class Embeddings(Request):
    """Texts, or data URIs of pictures and sounds, to embed."""

    model: Text
    input: Text | list[Text]
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


class Said(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[Part] | None = None


class Streaming(BaseModel):
    """What a stream tells beside its text."""

    include_usage: bool = False


class Chat(Request):
    """A conversation to answer."""

    model: Text
    messages: list[Said] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: Literal[1] | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: Text | list[Text] | None = None
    stream: bool | None = None
    stream_options: Streaming | None = None


class Search(Request):
    """What is looked for in an index: a text, or the data URI of a picture or a sound."""

    query: Text
    k: int = Field(10, ge=1, le=1000)
    path: Text | None = None
    kind: Literal["image", "audio", "text"] | None = None
    where: dict[Text, Text] = Field(default_factory=dict, max_length=32)


def event(document: Document) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


def texts_of(stop: str | list[str] | None) -> tuple[str, ...]:
    """Texts that end an answer."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


Document = dict[str, Any]
