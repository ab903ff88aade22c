"""Make folders of human speech to judge by, which no built-in data set calibrates on.

usage: held_out_data.py OUT [--shared ../shared/data] [--stamps FOLDER]

FOLDER is what `dpkg -x` unpacks of the Debian package tuxpaint-stamps-default (spoken captions, GPL-2); --shared holds
`speech` (FLEURS, CC BY 4.0) and `spoken-digits.zip` (Free Spoken Digit Dataset, CC BY-SA 4.0). None of it is part of
penjing. `fleurs-*` and `fold-*` are the very clips of the built-in set `calibration-audio`: they judge nothing that was
calibrated on it, and serve to cross-validate (calibrate on one fold, judge by the other).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLIPS_PER_DIGIT = 5
"""Of each speaker: the first of the set."""
STAMP_LANGUAGES = {"en": "", "fr": "_fr", "es": "_es"}
STAMP_CLIPS = 100
READABLE = re.compile(r"[^()\d«»“”\"/:$€]+")
"""Captions that can be read aloud in one way only: no digits, no remarks in parentheses."""
SEED = 0


def prepare(out: Path, shared: Path | None = None, stamps: Path | None = None) -> list[Path]:
    """Write every folder that the given material allows.

    Args:
        out: folder to write to; every data set becomes a subfolder with its `metadata.jsonl`.
        shared: folder with `speech` and `spoken-digits.zip`, or None.
        stamps: unpacked package tuxpaint-stamps-default, or None.

    Returns:
        The folders written.
    """
    folders = []
    if shared is not None:
        folders += [digits(shared / "spoken-digits.zip", out / "digits"), *fleurs(shared / "speech", out)]
    if stamps is not None:
        folders += [spoken_captions(stamps, language, out / f"stamps-{language}") for language in STAMP_LANGUAGES]
    return folders


def digits(archive: Path, folder: Path) -> Path:
    """Unpack the first recordings of each digit and speaker, `{digit}_{speaker}_{index}.wav`."""
    rows = []
    _empty(folder)
    with zipfile.ZipFile(archive) as recordings:
        for name in sorted(recordings.namelist()):
            digit, speaker, index = Path(name).stem.split("_")
            if int(index) < CLIPS_PER_DIGIT:
                (folder / name).write_bytes(recordings.read(name))
                rows.append(_row(name, DIGITS[int(digit)], "en", speaker))
    return _write(folder, rows)


def fleurs(speech: Path, out: Path) -> list[Path]:
    """Sort the read sentences by language (`fleurs-de`, `fleurs-fr`) and, each language halved, into two folds."""
    folders = []
    for name, chosen in {
        "fleurs-de": ("de", range(10)),
        "fleurs-fr": ("fr", range(10)),
        "fold-a": ("de fr", range(0, 10, 2)),
        "fold-b": ("de fr", range(1, 10, 2)),
    }.items():
        languages, numbers = chosen
        rows = []
        _empty(out / name)
        for language in languages.split():
            for number in numbers:
                clip = speech / f"fleurs-{language}-{number:03d}.ogg"
                shutil.copyfile(clip, out / name / clip.name)
                text = clip.with_suffix(".txt").read_text(encoding="utf8").strip()
                rows.append(_row(clip.name, text, language))
        folders.append(_write(out / name, rows))
    return folders


def spoken_captions(stamps: Path, language: str, folder: Path) -> Path:
    """Copy recorded captions of pictures with their text, at most `STAMP_CLIPS` drawn with a fixed seed.

    `cat_desc_fr.ogg` speaks the line `fr.utf8=…` of `cat.txt`, `cat_desc.ogg` its first line. `cat.ogg` is the noise
    of the thing itself and no speech.
    """
    ending = f"_desc{STAMP_LANGUAGES[language]}.ogg"
    rows = []
    _empty(folder)
    for recording in sorted(stamps.rglob(f"*{ending}")):
        captions = recording.with_name(recording.name.removesuffix(ending) + ".txt")
        text = _caption(captions, language) if captions.is_file() else ""
        if READABLE.fullmatch(text):
            name = "-".join(recording.parts[-3:])
            rows.append((recording, _row(name, text, language)))
    if len(rows) > STAMP_CLIPS:
        rows = sorted(random.Random(SEED).sample(rows, STAMP_CLIPS), key=lambda pair: str(pair[0]))
    for recording, row in rows:
        shutil.copyfile(recording, folder / row["file_name"])
    return _write(folder, [row for _, row in rows])


def _caption(captions: Path, language: str) -> str:
    """The caption of one language: English is the first line, the others are `fr.utf8=…`."""
    lines = captions.read_text(encoding="utf8").splitlines()
    if language == "en":
        return lines[0].strip()
    start = f"{language}.utf8="
    return next((line.removeprefix(start).strip() for line in lines if line.startswith(start)), "")


def _row(file_name: str, text: str, language: str, speaker: str = "") -> dict[str, str]:
    """One line of the table; an unknown speaker is left out."""
    row = {"file_name": file_name, "text": text, "language": language, "source": "people"}
    return {**row, "speaker": speaker} if speaker else row


def _empty(folder: Path) -> None:
    """Start a folder afresh, so that clips of an earlier choice do not stay in it."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _write(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write the table of a folder."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf8")
    return folder


def main() -> None:
    """Read the command line and print the folders."""
    parser = argparse.ArgumentParser(description="Make folders of human speech to judge by.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--shared", type=Path, help="folder with speech/ and spoken-digits.zip")
    parser.add_argument("--stamps", type=Path, help="unpacked Debian package tuxpaint-stamps-default")
    arguments = parser.parse_args()
    for folder in prepare(arguments.out, arguments.shared, arguments.stamps):
        print(folder)


if __name__ == "__main__":
    main()
