"""The command `transcribe`; what it needs is imported when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from penjing.cli.options import Debug, Engine, Json, Threads


def transcribe(  # noqa: PLR0913, PLR0917 - the options of the contract
    artifact: Annotated[str, typer.Argument(help="An artifact that hears, or seedling.")],
    files: Annotated[
        list[str],
        typer.Argument(help="Sound files (wav, flac, ogg, mp3, m4a, webm), folders of them, or - for a stream."),
    ],
    language: Annotated[str | None, typer.Option(help="Language code; guessed by multilingual models.")] = None,
    format: Annotated[str, typer.Option(help="text, srt, vtt or json.")] = "text",
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="Folder for a file of text or subtitles per sound.")
    ] = None,
    times: Annotated[bool, typer.Option("--times", help="Segments of phrases, as subtitles have them.")] = False,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Files heard at a time, each on its share of the threads."),
    ] = 1,
    vad_filter: Annotated[
        bool, typer.Option(help="Ask a voice activity detector where the model doubts that somebody speaks.")
    ] = True,
    no_speech_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="No text above this no-speech probability, unless a voice is detected,")
    ] = 0.6,
    log_prob_threshold: Annotated[
        float, typer.Option(max=0, help="where the mean log-likelihood of a token is below this, too.")
    ] = -1.0,
    engine: Engine = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write down what is said in sound files, or in a stream while it is spoken."""
    from penjing.cli.hear import Wanted, hear_files, hear_stream
    from penjing.runtimes.transcription import SpeechFilter

    json, format = (True, "text") if format == "json" and out is None else (json, format)
    speech_filter = SpeechFilter(vad_filter, no_speech_threshold, log_prob_threshold)
    phrases = times or format != "text"
    wanted = Wanted(artifact, language, format, out, phrases, engine, threads, json, workers, speech_filter)
    if files == ["-"]:
        hear_stream(wanted)
    else:
        hear_files(wanted, files)
