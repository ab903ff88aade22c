"""Options of the OpenAI API that are not honoured: refused where they would change an answer, else ignored by name.

docs/serve.md has the same list. An option that is not served and says nothing (`null`, or what the API does by default)
is let through: clients send those unasked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penjing.errors import did_you_mean
from penjing.serve.refusals import Refusal
from penjing.serve.wire import Chat

LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one route: those that are honoured, what others may say, and those that change no answer."""

    honoured: tuple[str, ...]
    neutral: Mapping[str, tuple[Any, ...]]
    ignored: tuple[str, ...] = ()

    def check(self, given: Mapping[str, Any], prefix: str = "") -> None:
        """Refuse (400) what would change the answer and is not served, and names that no option has."""
        for name, value in given.items():
            if value is None or name in self.honoured or name in self.ignored or value in self.neutral.get(name, ()):
                continue
            param = f"{prefix}{name[:LONGEST_NAME]}"
            if name in self.neutral:
                raise Refusal(
                    400, f"{param} is not supported by this server: leave it out", code="unsupported", param=param
                )
            known = [*self.honoured, *self.neutral, *self.ignored]
            raise Refusal(
                400,
                f"there is no option {param} ({did_you_mean(name[:LONGEST_NAME], known)})",
                code="unknown_option",
                param=param,
            )


NOT_FOR_ANSWERS = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                   "prompt_cache_options", "prompt_cache_retention")  # fmt: skip
"""Accounts, billing, storage and caches: they change no answer."""

CHAT = Options(
    ("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "seed", "stop", "stream",
     "stream_options"),
    {
        "tools": ([],), "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"),
        "response_format": ({"type": "text"},), "logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},),
        "frequency_penalty": (0,), "presence_penalty": (0,), "modalities": (["text"],), "audio": (), "moderation": (),
        "web_search_options": (), "verbosity": ("medium",), "reasoning_effort": ("none",),
    },
    (*NOT_FOR_ANSWERS, "parallel_tool_calls", "prediction"),
)  # fmt: skip
MESSAGE = Options(
    ("role", "content"),
    {"tool_calls": ([],), "function_call": (), "tool_call_id": (), "audio": (), "refusal": ("",)},
    ("name", "annotations", "reasoning_content"),
)
STREAM_OPTIONS = Options(("include_usage",), {"include_obfuscation": (False,)})
EMBEDDINGS = Options(("model", "input", "encoding_format", "dimensions"), {}, NOT_FOR_ANSWERS)
SEARCH = Options(("query", "k", "path", "kind", "where"), {}, ("user",))
TRANSCRIPTIONS = Options(
    ("file", "model", "language", "response_format", "stream", "timestamp_granularities", "vad_filter"),
    {"prompt": ("",), "temperature": ("0", "0.0"), "include": (), "chunking_strategy": ("auto",), "keywords": (),
     "languages": (), "known_speaker_names": (), "known_speaker_references": ()},
    NOT_FOR_ANSWERS,
)  # fmt: skip
TRANSLATIONS = Options(("file", "model", "response_format"), TRANSCRIPTIONS.neutral, NOT_FOR_ANSWERS)


def check_chat(asked: Chat) -> None:
    """Refuse options of a conversation that are not served, and `stream_options` without a stream."""
    CHAT.check(asked.undeclared)
    for index, message in enumerate(asked.messages):
        MESSAGE.check(message.undeclared, f"messages.{index}.")
    if asked.stream_options is None:
        return
    STREAM_OPTIONS.check(asked.stream_options.undeclared, "stream_options.")
    if not asked.stream:
        raise Refusal(400, "stream_options are for streams: give stream, too", code="invalid", param="stream_options")
