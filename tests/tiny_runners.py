"""Runners without a model: one that takes its time, and some that answer in six words whatever they are shown."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from penjing.runtimes.pieces import until

WORDS = ["one", "two", "three", "four", "five", "six"]


class Answerer:
    """Answers questions about pictures in six words, or as many as it may."""

    task = "visual-question-answering"

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.asked: list[Any] = []

    def ask(self, picture, question, style):
        raise NotImplementedError

    def asking(self, picture, question, style):
        self.asked.append(question)
        return until(style.stop, self._written(style.max_tokens))

    def _written(self, most):
        for word in WORDS[:most]:
            yield f" {word}"
        return most < len(WORDS)


class Captioner(Answerer):
    """Writes captions, too."""

    def caption(self, picture, style):
        raise NotImplementedError

    def captioning(self, picture, style):
        return self.asking(picture, "caption", style)


class Slow:
    """Embeds a text as its length; each run takes a while, whatever goes through."""

    task = "encoder"
    modalities = ("text",)

    def __init__(self, seconds: float = 0.05) -> None:
        self.settings = {"chat": {"begin": ""}}
        self.seconds = seconds
        self.runs: list[int] = []
        self.pieces = 0
        self.begun = threading.Event()

    def read(self, item, modality):
        return item

    def count_tokens(self, text):
        return len(text.split())

    def count_read(self, read):
        return self.count_tokens(read)

    def prompt_tokens(self, messages):
        return [0] * len(messages)

    def embed_read(self, read, modality):
        self.runs.append(len(read))
        time.sleep(self.seconds)
        if any("poison" in one for one in read):
            raise RuntimeError("a bug in the model")
        return np.array([[len(one), 1.0] for one in read], np.float32)

    def generate(self, messages, style):
        for _ in range(style.max_tokens):
            self.begun.set()
            self.pieces += 1
            yield "a "
            time.sleep(self.seconds)
