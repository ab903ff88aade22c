"""`/v1/audio/transcriptions` and `/v1/audio/translations`: a sound in, its text out."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from penjing.apps.subtitles import WRITERS
from penjing.data.languages import language_code
from penjing.data.speech_prompt import ENGLISH
from penjing.errors import DataError
from penjing.runtimes.transcription import SPEECH_FILTER, Segment, SpeechFilter, Transcription, joined
from penjing.serve.budget import Load
from penjing.serve.desk import Desk
from penjing.serve.media import samples
from penjing.serve.options import TRANSCRIPTIONS, TRANSLATIONS, Options
from penjing.serve.refusals import Refusal, checked, mistaken, wrong_model
from penjing.serve.shelf import Served
from penjing.serve.wire import Document, event

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
STREAMED = ("json", "text")
TIMED = ("srt", "vtt", "verbose_json")
GRANULARITIES = "timestamp_granularities"
FRAMES_PER_S = 100
"""Of Whisper, in which `seek` is told."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to make of a sound: a text in its own language or in English, in a form, at once or in a stream."""

    task: str = "transcribe"
    language: str | None = None
    form: str = "json"
    is_streamed: bool = False
    speech_filter: SpeechFilter = SPEECH_FILTER

    def check(self, served: Served) -> None:
        """Refuse what the model cannot do, and forms that there are not."""
        if self.task not in served.abilities:
            raise wrong_model(served.name, self.task)
        if self.form not in FORMATS:
            raise Refusal(400, f"no format called {self.form!r}: {', '.join(FORMATS)}", param="response_format")
        if self.is_streamed and self.form not in STREAMED:
            raise Refusal(400, f"a stream is {' or '.join(STREAMED)}, not {self.form}", param="response_format")
        try:
            served.runner.check_language(self.language)
        except DataError as error:
            raise mistaken(error, "language") from error


def _transcription_order(
    language: Annotated[str | None, Form(max_length=64)] = None,
    response_format: Annotated[str, Form(max_length=64)] = "json",
    stream: Annotated[bool, Form()] = False,
    vad_filter: Annotated[bool, Form()] = True,
) -> Order:
    """A transcription, from the fields of a form."""
    return Order("transcribe", language_code(language), response_format, stream, SpeechFilter(vad_filter=vad_filter))


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/v1/audio/transcriptions", response_model=None)
    async def transcribe(
        request: Request,
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()],
        order: Annotated[Order, Depends(_transcription_order)],
    ) -> Response | Document:
        """Write down what is said."""
        await _check_form(request, TRANSCRIPTIONS, order.form)
        return await _written(desk, desk.shelf[model], file, order, request.state.load)

    @router.post("/v1/audio/translations", response_model=None)
    async def translate(
        request: Request,
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()],
        response_format: Annotated[str, Form(max_length=64)] = "json",
    ) -> Response | Document:
        """Write down in English what is said in another language."""
        order = Order("translate", None, response_format)
        await _check_form(request, TRANSLATIONS, response_format)
        return await _written(desk, desk.shelf[model], file, order, request.state.load)

    return router


async def _check_form(request: Request, options: Options, response_format: str) -> None:
    """Refuse fields that are not served; times are told of segments, where the form has them."""
    fields = [(name.removesuffix("[]"), value) for name, value in (await request.form()).multi_items()]
    options.check({name: value for name, value in fields if name not in options.honoured})
    granularities = [value for name, value in fields if name == GRANULARITIES]
    if "word" in granularities:
        raise Refusal(400, "times of words are not told: ask for those of segments", param=GRANULARITIES)
    if any(value != "segment" for value in granularities):
        raise Refusal(400, "times are told of segments", param=GRANULARITIES)
    if granularities and response_format != "verbose_json":
        raise Refusal(400, f"{GRANULARITIES} are for the format verbose_json", param=GRANULARITIES)


async def _written(desk: Desk, served: Served, file: UploadFile, order: Order, load: Load) -> Response | Document:
    """The answer to a sound."""
    order.check(served)
    runner = served.runner
    # In the thread, so that no more uploads are in memory at a time than are decoded.
    waveform = await desk.aside(lambda: samples(file.file.read(), runner.sampling_rate_hz, load))
    options: dict[str, Any] = {"times": True} if order.form in TIMED and runner.tells_times else {}
    if order.speech_filter != SPEECH_FILTER:
        options["speech_filter"] = order.speech_filter
    if order.task != "transcribe":
        options["task"] = order.task
    windows = checked(served.worker.stream(lambda: runner.transcribing(waveform, order.language, **options)))
    if order.is_streamed:
        first = await anext(windows)  # what is wrong is told by a status, before anything is sent
        return StreamingResponse(_events(first, windows), media_type="text/event-stream")
    transcription = joined([window async for window in windows])  # who leaves ends it before the next
    if order.form == "text":
        return PlainTextResponse(transcription.text + "\n")
    if order.form in WRITERS:
        return PlainTextResponse(WRITERS[order.form](transcription.segments))
    document: Document = {"text": transcription.text, "usage": _usage([transcription])}
    return document if order.form == "json" else {**document, **_details(transcription, order.task)}


def _details(transcription: Transcription, task: str) -> Document:
    """What `verbose_json` says beside the text. A model that lists no languages speaks English."""
    segments = [_segment(index, segment) for index, segment in enumerate(transcription.segments)]
    language = transcription.language if task == "transcribe" else None
    return {
        "task": task,
        "language": language or ENGLISH,
        "duration": transcription.audio_seconds,
        "segments": segments,
    }


def _segment(index: int, segment: Segment) -> Document:
    """A segment with the fields of the OpenAI API; of scores those that the model has."""
    text = segment.text.encode()
    document: Document = {
        "id": index,
        "seek": round(FRAMES_PER_S * segment.start_s),
        "start": segment.start_s,
        "end": segment.end_s,
        "text": segment.text,
        "tokens": [*segment.tokens],
        "temperature": 0.0,
        "compression_ratio": len(text) / len(zlib.compress(text)),
    }
    scores = {"avg_logprob": segment.mean_log_likelihood, "no_speech_prob": segment.no_speech}
    return document | {name: score for name, score in scores.items() if score is not None}


def _usage(windows: Sequence[Transcription]) -> Document:
    """What was heard, in seconds."""
    return {"type": "duration", "seconds": round(sum(window.audio_seconds for window in windows), 3)}


async def _events(first: Transcription, rest: AsyncIterator[Transcription]) -> AsyncIterator[str]:
    """Server-sent events, as the OpenAI API has them: what each window adds, and all of it at last."""
    text, windows = first.text, [first]
    if text:
        yield event({"type": "transcript.text.delta", "delta": text})
    try:
        async for window in rest:
            windows.append(window)
            new = f" {window.text}" if text and window.text else window.text
            text += new
            if new:
                yield event({"type": "transcript.text.delta", "delta": new})
    except Refusal as refusal:
        yield event(refusal.as_json())
        return
    yield event({"type": "transcript.text.done", "text": text, "usage": _usage(windows)})
