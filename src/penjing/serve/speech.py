"""`/v1/audio/transcriptions`: a sound in, its text out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from penjing.apps.subtitles import WRITERS
from penjing.errors import DataError
from penjing.runtimes.speech import Transcription, joined
from penjing.serve.desk import Desk
from penjing.serve.media import samples
from penjing.serve.refusals import Refusal, checked, mistaken, wrong_model
from penjing.serve.wire import event

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
STREAMED = ("json", "text")


def routes(desk: Desk) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/v1/audio/transcriptions", response_model=None)
    async def transcribe(
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()],
        language: Annotated[str | None, Form()] = None,
        response_format: Annotated[str, Form()] = "json",
        stream: Annotated[bool, Form()] = False,
    ) -> Response | dict[str, Any]:
        """Write down what is said."""
        served = desk.shelf[model]
        if "transcribe" not in served.abilities:
            raise wrong_model(model, "transcribe")
        if response_format not in FORMATS:
            raise Refusal(400, f"no format called {response_format!r}: {', '.join(FORMATS)}", param="response_format")
        if stream and response_format not in STREAMED:
            raise Refusal(400, f"a stream is {' or '.join(STREAMED)}, not {response_format}", param="response_format")
        runner = served.runner
        try:
            runner.check_language(language)
        except DataError as error:
            raise mistaken(error, "language") from error
        content = await file.read()
        heard = await desk.aside(lambda: samples(content, runner.sampling_rate_hz, desk.limits))
        timed = not stream and response_format in ("srt", "vtt", "verbose_json") and runner.tells_times
        told = {"times": True} if timed else {}
        windows = checked(served.worker.stream(lambda: runner.transcribing(heard, language, **told)))
        if stream:
            first = await anext(windows)  # what is wrong is told by a status, before anything is sent
            return StreamingResponse(_events(first, windows), media_type="text/event-stream")
        found = joined([window async for window in windows])  # who leaves ends it before the next
        if response_format == "text":
            return PlainTextResponse(found.text + "\n")
        if response_format in WRITERS:
            return PlainTextResponse(WRITERS[response_format](found.segments))
        if response_format == "json":
            return {"text": found.text}
        segments = [
            {"id": place, "start": one.start_s, "end": one.end_s, "text": one.text}
            for place, one in enumerate(found.segments)
        ]
        return {"task": "transcribe", "text": found.text, "language": found.language, "duration": found.audio_seconds,
                "segments": segments}  # fmt: skip

    return router


async def _events(first: Transcription, rest: AsyncIterator[Transcription]) -> AsyncIterator[str]:
    """Server-sent events, as the OpenAI API has them: what each window adds, and all of it at last."""
    text = first.text
    if text:
        yield event({"type": "transcript.text.delta", "delta": text})
    try:
        async for window in rest:
            new = f" {window.text}" if text and window.text else window.text
            text += new
            if new:
                yield event({"type": "transcript.text.delta", "delta": new})
    except Refusal as refusal:
        yield event(refusal.as_json())
        return
    yield event({"type": "transcript.text.done", "text": text})
