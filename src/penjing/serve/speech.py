"""`/v1/audio/transcriptions`: a sound in, its text out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import PlainTextResponse, Response

from penjing.apps.subtitles import WRITERS
from penjing.errors import DataError
from penjing.serve.desk import Desk
from penjing.serve.media import samples
from penjing.serve.refusals import Refusal, mistaken, wrong_model

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")


def routes(desk: Desk) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/v1/audio/transcriptions", response_model=None)
    async def transcribe(
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()],
        language: Annotated[str | None, Form()] = None,
        response_format: Annotated[str, Form()] = "json",
    ) -> Response | dict[str, Any]:
        """Write down what is said."""
        served = desk.shelf[model]
        if "transcribe" not in served.abilities:
            raise wrong_model(model, "transcribe")
        if response_format not in FORMATS:
            raise Refusal(400, f"no format called {response_format!r}: {', '.join(FORMATS)}", param="response_format")
        runner = served.runner
        content = await file.read()
        heard = await desk.aside(lambda: samples(content, runner.sampling_rate_hz, desk.limits))
        timed = response_format in ("srt", "vtt", "verbose_json") and runner.tells_times
        try:
            runner.check_language(language)
            found = await served.worker.call(
                lambda: runner.transcribe(heard, language, times=True) if timed else runner.transcribe(heard, language)
            )
        except DataError as error:
            raise mistaken(error) from error
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
