"""Requests as the OpenAI API has them. Fields that are not known are ignored, as other servers do."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Request(BaseModel):
    """What every request has in common."""

    model_config = ConfigDict(extra="ignore")


class Embeddings(Request):
    """Texts, or data URIs of pictures and sounds, to embed."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)


class Link(BaseModel):
    """A picture as a data URI."""

    url: str


class Sound(BaseModel):
    """A sound as base64."""

    data: str
    format: str = "wav"


class Part(BaseModel):
    """A part of what somebody says: text, a picture or a sound."""

    type: Literal["text", "image_url", "input_audio"]
    text: str | None = None
    image_url: Link | None = None
    input_audio: Sound | None = None


class Said(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None


class Streaming(BaseModel):
    """What a stream tells beside its text."""

    include_usage: bool = False


class Chat(Request):
    """A conversation to answer."""

    model: str
    messages: list[Said] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    n: Literal[1] = 1
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: Streaming | None = None


class Search(Request):
    """What is looked for in an index: a text, or the data URI of a picture or a sound."""

    query: str
    k: int = Field(10, ge=1, le=1000)
    path: str | None = None
    kind: Literal["image", "audio", "text"] | None = None
    where: dict[str, str] = Field(default_factory=dict)


def texts_of(stop: str | list[str] | None) -> tuple[str, ...]:
    """Texts that end an answer."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


Document = dict[str, Any]
