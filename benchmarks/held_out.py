"""Word errors of a Whisper and its artifacts on human speech that neither calibrated nor judged them, in both engines.

usage: held_out.py MODEL ARTIFACT... --data FOLDER... [--engine NAME]... [--name NAME]

The folders are those of held_out_data.py, or any folder of clips with transcripts (`language` in its metadata). Every
clip is transcribed by the source, whose graphs are exported to float32, and by every artifact, in the same engine and
with the language given. Rows in a language that the source does not know are left out and counted. Word error rates are
given by folder, by language and pooled, with 95% bootstrap intervals; every change is paired, clip by clip.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from timing import THREADS, write

ENGINES = ("onnxruntime", "openvino")


class Clip(NamedTuple):
    """A recording of a folder with what is transcribed in it."""

    folder: str
    file: Path
    text: str
    language: str

    @property
    def group_names(self) -> tuple[str, str, str]:
        """The groups that the clip counts in."""
        return (f"folder {self.folder}", f"language {self.language}", "pooled")


def read_clips(folders: Sequence[str]) -> list[Clip]:
    """Read every folder in its own order; a clip without a language is English."""
    from penjing.data.source import load_dataset

    clips = []
    for folder in folders:
        for row in load_dataset(folder).rows:
            if not isinstance(row.file, Path) or row.media != "audio" or "text" not in row.fields:
                raise SystemExit(f"{folder}: row {row.id} is no recording with a transcript")
            language = row.fields.get("language", "en")
            clips.append(Clip(Path(folder).name, row.file, row.fields["text"], language))
    return clips


def transcripts(name: str, clips: Sequence[Clip], engine_name: str) -> list[str]:
    """Transcribe every clip by one model or artifact."""
    from penjing.apps.transcribe import transcribe_file
    from penjing.pipeline.evaluate import open_any
    from penjing.runtimes.engine import choose_engine

    engine = choose_engine(engine_name, THREADS, cache=False)
    with tempfile.TemporaryDirectory() as scratch:
        runner = open_any(name, engine, Path(scratch), lambda *progress: None).runner
        known = runner.languages
        return [transcribe_file(runner, str(clip.file), clip.language if known else None).text for clip in clips]


def spoken_languages(model: str) -> set[str]:
    """Languages that a checkpoint of transformers knows, by its generation settings; English alone if it names none."""
    import json

    settings = json.loads((Path(model) / "generation_config.json").read_text(encoding="utf8"))
    return {token.strip("<|>") for token in settings.get("lang_to_id", {})} or {"en"}


def summarise(clips: Sequence[Clip], texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Score every system by group of clips.

    Args:
        clips: the recordings.
        texts: transcripts by system in the order of the clips; the first system is the source.

    Returns:
        By group of clips: how many there are and, by system, `wer` with its interval and, but for the source, `change`
        with its paired interval.
    """
    groups: dict[str, list[int]] = {}
    for number, clip in enumerate(clips):
        for group in clip.group_names:
            groups.setdefault(group, []).append(number)
    return {group: {"clips": len(chosen), **score_group(clips, texts, chosen)} for group, chosen in groups.items()}


def score_group(clips: Sequence[Clip], texts: Mapping[str, Sequence[str]], chosen: Sequence[int]) -> dict[str, Any]:
    """Word error rates of the clips with these numbers, by system, beside the change from the first system."""
    from penjing.evaluate.interval import bootstrap, paired_difference
    from penjing.evaluate.words import speech_scores

    references = [clips[number].text for number in chosen]
    languages = [clips[number].language for number in chosen]
    scores = {
        name: speech_scores(references, [transcribed[number] for number in chosen], languages)["wer"]
        for name, transcribed in texts.items()
    }
    source = next(iter(scores.values()))
    return {
        name: {"wer": bootstrap(score).as_json()}
        | ({} if score is source else {"change": paired_difference(source, score).as_json()})
        for name, score in scores.items()
    }


def differing(clips: Sequence[Clip], texts: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every clip that some system transcribes otherwise than the source does, letter by letter."""
    source = next(iter(texts.values()))
    return [
        {
            "file": f"{clip.folder}/{clip.file.name}",
            "text": clip.text,
            **{name: transcribed[n] for name, transcribed in texts.items()},
        }
        for n, clip in enumerate(clips)
        if any(transcribed[n] != source[n] for transcribed in texts.values())
    ]


def main() -> None:
    """Transcribe by every system in every engine, print a table and write the numbers."""
    parser = argparse.ArgumentParser(description="Word errors on speech that neither calibrated nor judged.")
    parser.add_argument("model")
    parser.add_argument("artifacts", nargs="+", action="extend", metavar="artifact")
    parser.add_argument("--data", nargs="+", action="extend", required=True, metavar="FOLDER")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="may be given twice; both by default")
    parser.add_argument("--name", help="of the JSON file in build/bench; by default that of the first artifact")
    arguments = parser.parse_args()
    clips = read_clips(arguments.data)
    known = spoken_languages(arguments.model)
    understood = [clip for clip in clips if clip.language in known]
    if not understood:
        raise SystemExit(f"{arguments.model} knows none of the languages of these clips")
    document: dict[str, Any] = {"clips": len(understood), "left_out": len(clips) - len(understood), "engines": {}}
    for engine in arguments.engine or ENGINES:
        names = {"source": arguments.model, **{Path(name).name: name for name in arguments.artifacts}}
        if len(names) != 1 + len(arguments.artifacts):
            raise SystemExit("artifacts need folder names of their own, none of them `source`")
        texts = {key: transcripts(name, understood, engine) for key, name in names.items()}
        groups = summarise(understood, texts)
        document["engines"][engine] = {"groups": groups, "differing": differing(understood, texts)}
        print_table(engine, groups)
    write(f"held-out-{arguments.name or Path(arguments.artifacts[0]).name}", document)


def print_table(engine: str, groups: Mapping[str, Any]) -> None:
    """Print one line per group and system: word error rate and change in points."""
    for group, systems in groups.items():
        for name, scores in systems.items():
            if name == "clips":
                continue
            line = f"{engine}  {group:22} {systems['clips']:4} clips  {name:24} {100 * scores['wer']['value']:6.1f}%"
            if change := scores.get("change"):
                low, high = 100 * change["low"], 100 * change["high"]
                line += f"  {100 * change['value']:+.1f} points ({low:+.1f} … {high:+.1f})"
            print(line, flush=True)


if __name__ == "__main__":
    main()
