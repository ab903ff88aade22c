"""WER of a model and its artifact on a folder of name.ogg + name.txt, every differing word listed.

usage: languages.py MODEL ARTIFACT FOLDER   (names like fleurs-de-000.ogg carry the language)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from timing import THREADS, write


def main() -> None:
    """Transcribe every clip with both, in the same engine, language given."""
    from penjing.apps.transcribe import transcribe_file
    from penjing.evaluate.interval import measure_all
    from penjing.evaluate.words import speech_scores, word_differences
    from penjing.pipeline.evaluate import open_any
    from penjing.runtimes.engine import choose_engine

    model, artifact, folder = sys.argv[1:4]
    engine = choose_engine("openvino", THREADS, cache=False)
    clips = sorted(Path(folder).glob("*.ogg"))
    languages = [clip.stem.split("-")[1] for clip in clips]
    references = [clip.with_suffix(".txt").read_text(encoding="utf8") for clip in clips]
    said = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in (("source", model), ("result", artifact)):
            runner = open_any(path, engine, Path(scratch) / name, lambda *told: None).runner
            said[name] = [
                transcribe_file(runner, str(clip), language).text
                for clip, language in zip(clips, languages, strict=True)
            ]
    scores = {name: measure_all(speech_scores(references, texts, languages)) for name, texts in said.items()}
    changed = {
        clip.name: [difference.as_json() for difference in word_differences(before, after, language)]
        for clip, before, after, language in zip(clips, said["source"], said["result"], languages, strict=True)
    }
    wer = {name: found["wer"].as_json() for name, found in scores.items()}
    write(
        f"languages-{Path(artifact).name}",
        {"wer": wer, "words": {name: words for name, words in changed.items() if words}},
    )


if __name__ == "__main__":
    main()
