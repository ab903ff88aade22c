"""Rows to learn from: of any data set, or made for it: pictures drawn anew, scenes drawn and told, texts read aloud.

What is spoken is made once, into a folder of the user's cache, from seeds; espeak-ng speaks. What built-in sets judge
by is not in them: neither its sentences nor its scenes, nor the voices that nobody trains on.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from penjing.data import pictures
from penjing.data.content import content_key, outline, text_key
from penjing.data.pictures import pick
from penjing.data.row import Media, Row
from penjing.data.source import load_dataset
from penjing.errors import DataError
from penjing.scenes.captions import caption
from penjing.scenes.holdout import held_out
from penjing.scenes.questions import Question, questions, reworded
from penjing.scenes.scene import Scene, draw, imagine
from penjing.seedling.speech import (
    ESPEAK_VOICES,
    LONGEST_S,
    RATE_HZ,
    Speaker,
    SpeechCache,
    Utterance,
    utterance,
)
from penjing.teach.everyday import everyday
from penjing.values import Tell, silent

FORMAT = 2
FIRST_SCENE = 600_000_000
"""Seeds from here on are neither of scenes that the seedling was trained on aloud nor of those that are built in."""
FIRST_PICTURE = 700_000_000
TYPED = 3
EVERYDAY = 2
"""Everyday sentences for each that is read from a novel."""
FEWEST_WORDS, MOST_WORDS = 4, 24
SENTENCE = re.compile(r"[A-Z][A-Za-z ,;:'.-]*[a-z][.!?]")
ABBREVIATED = ("Mr.", "Mrs.", "Dr.", "St.")
DEFAULTS = {"pictures-train": 1000, "scenes-train": 300, "speech-train": 400}
"""How many pictures, scenes or sentences there are where the name does not say: `scenes-train:1000` does."""
ROWS = {"pictures-train": 1, "scenes-train": 2 + TYPED, "speech-train": 1}
"""Rows of a picture, a scene, and a sentence."""
SPOKEN = ("scenes-train", "speech-train")


def is_training_set(name: str) -> bool:
    """Whether a name is of one of these sets."""
    return name.partition(":")[0] in DEFAULTS


def rows_to_learn(name: str, tell: Tell = silent, held: Sequence[Row] = ()) -> Iterator[Row]:
    """Rows of a set made for it, or of any other those that neither judge nor select, as far as the set says.

    Of any other set rows are left out that are `held` back to choose by, whatever file they came in.
    """
    if is_training_set(name):
        return training_rows(name, tell)
    return iter(_apart(name, _own_rows(name), held, tell))


def check_rows(name: str) -> Sequence[Row]:
    """Refuse, before any work, the name of a set that is not there or cannot be made.

    Returns its rows; of a set that is made for it an empty one, to show what they have.
    """
    if not is_training_set(name):
        return _own_rows(name)
    _count_of(name)
    kind = name.partition(":")[0]
    if kind in SPOKEN:
        Speaker()
    media: Media = "audio" if kind == "speech-train" else "image"
    return [Row(name, {"text": name}, media, b"", b"" if kind == "scenes-train" else None)]


def count_rows(name: str) -> int:
    """How many rows there are, at most in a set that is made for it; none is made now."""
    if is_training_set(name):
        return _count_of(name) * ROWS[name.partition(":")[0]]
    return len(_own_rows(name))


def rows_key(name: str) -> str:
    """A hash of what a set holds: its texts and the bytes of its files. A set made for learning is what its name says.

    Files are not decoded, which would take hours for a large set.
    """
    if is_training_set(name):
        return name
    digest = hashlib.sha256()
    for row in _own_rows(name):
        digest.update(f"{row.id} {text_key(row)}\n".encode())
        for media in (row.file, row.spoken):
            if isinstance(media, bytes):
                digest.update(hashlib.sha256(media).digest())
            elif media is not None:
                with media.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _own_rows(name: str) -> list[Row]:
    """Rows of a data set that neither judge nor select, as far as the set says."""
    data = load_dataset(name)
    return [row for row in data.rows if data.parts.get(row.id, "calibrate") == "calibrate"]


def _apart(name: str, rows: Sequence[Row], held: Sequence[Row], tell: Tell) -> Sequence[Row]:
    """Rows whose content is not that of a row held back. Only rows whose outlines are equal are decoded."""
    outlines = {outline(row) for row in held}
    near = {row.id for row in rows if outline(row) in outlines} if outlines else set()
    keys = {content_key(row) for row in held} if near else set()
    kept = [row for row in rows if row.id not in near or content_key(row) not in keys]
    if len(kept) < len(rows):
        tell(f"{len(rows) - len(kept)} rows of {name} are kept to choose by: nothing is learned from them", 0, 0)
    if not kept:
        raise DataError(f"{name} has no rows to learn from but those to choose by", hint="give other rows in `data`")
    return kept


def training_rows(name: str, tell: Tell = silent) -> Iterator[Row]:
    """The rows of a set, made now if they were not yet."""
    kind, count = name.partition(":")[0], _count_of(name)
    if kind not in SPOKEN:
        return _picture_rows(count)
    rows: Callable[[SpeechCache, int], Iterator[Row]] = _scene_rows if kind == "scenes-train" else _speech_rows
    script = _told_scenes(count) if kind == "scenes-train" else _told_sentences(count)
    told = [*script]
    return rows(_spoken(name, folder_of(kind, count), told, tell), count)


def _spoken(name: str, folder: Path, told: Sequence[Utterance], tell: Tell) -> SpeechCache:
    """What is told, read aloud in a folder apart and put in its place whole: several runs may speak at once, and the
    first that is done wins.
    """
    if len(SpeechCache(folder).utterances) < len(told):
        say = Speaker().say
        apart = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            for done in SpeechCache(apart).fill(told, say):
                tell(f"speak {name}", done, len(told))
            _put_in_place(apart, folder, len(told))
        finally:
            shutil.rmtree(apart, ignore_errors=True)
    return SpeechCache(folder)


def _put_in_place(apart: Path, folder: Path, count: int) -> None:
    try:
        apart.rename(folder)  # it is empty
    except OSError:  # another run was first, or an older one was broken off in there
        if len(SpeechCache(folder).utterances) < count:
            shutil.rmtree(folder)
            apart.rename(folder)


def _count_of(name: str) -> int:
    """How many pictures, scenes or sentences a name asks for."""
    kind, _, wanted = name.partition(":")
    if (wanted and not wanted.isdigit()) or wanted == "0":
        raise DataError(f"{name}: {wanted!r} is no number of items", hint=f"write `{kind}:{DEFAULTS[kind]}`")
    return int(wanted) if wanted else DEFAULTS[kind]


def folder_of(kind: str, count: int) -> Path:
    """Where the speech of a set is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "penjing" / f"{kind}-{count}-v{FORMAT}"


def _picture_rows(count: int) -> Iterator[Row]:
    """Drawings with their captions, none that means the same as a built-in one."""
    known, seed, left = {scene.meaning for scene in pictures.frozen().values()}, FIRST_PICTURE, count
    while left:
        if pictures.imagine(seed).meaning not in known:
            image, text = pictures.draw(seed)
            left -= 1
            yield Row(f"train-{seed}", {"text": text}, "image", _encoded(image))
        seed += 1


def _scenes(count: int) -> Iterator[tuple[Scene, str, Question]]:
    """Scenes, what is told of each and what is asked aloud; none held out."""
    seed, left = FIRST_SCENE, count
    while left:
        scene = imagine(seed)
        text = caption(scene)
        asked = [one for one in questions(scene, 4 * TYPED, seed) if not held_out(one.text)]
        if not held_out(text) and asked:
            left -= 1
            yield scene, text, pick(random.Random(seed + 7), asked)
        seed += 1


def _told_scenes(count: int) -> Iterator[Utterance]:
    """The caption and the question of each scene, by voices in turn."""
    for scene, text, asked in _scenes(count):
        dice = random.Random(scene.seed + 3)
        yield utterance(text, "caption", scene.seed, pick(dice, ESPEAK_VOICES), dice)
        yield utterance(asked.text, "question", scene.seed, pick(dice, ESPEAK_VOICES), dice)


def _scene_rows(cache: SpeechCache, count: int) -> Iterator[Row]:
    """Five rows a scene, as the built-in set has them; of sounds too long for the model none."""
    for place, (scene, text, asked) in enumerate(_scenes(count)):
        name, picture = f"train-{scene.seed}", _encoded(draw(scene))
        if max(cache.seconds(2 * place), cache.seconds(2 * place + 1)) > LONGEST_S:
            continue
        told, questioned = (_wav(cache, 2 * place + one) for one in range(2))
        yield Row(name, {"text": text}, "image", picture, told)
        spoken = {"question": asked.text, "answer": asked.answer}
        yield Row(f"{name}/spoken", spoken, "image", picture, questioned)
        dice = random.Random(scene.seed + 5)
        typed = [one for one in questions(scene, 4 * TYPED, scene.seed) if not held_out(one.text)]
        for number, one in enumerate(typed[:TYPED], 1):
            fields = {"question": reworded(one.text, dice), "answer": one.answer}
            yield Row(f"{name}/{number}", fields, "image", picture)


def sentences() -> Iterator[str]:
    """Everyday sentences without end, every third one of a novel as long as there are any; none of the set `speech`."""
    judged = {_plain(row.fields["text"]) for row in load_dataset("speech").rows}
    simple = (text for text in everyday() if _plain(text) not in judged)
    told = read_out()
    while True:
        yield next(told, None) or next(simple)
        yield from islice(simple, EVERYDAY)


def read_out() -> Iterator[str]:
    """Sentences of the novels' passages that calibrate, in order, each once; none that the set `speech` has."""
    spoken = {_plain(row.fields["text"]) for row in load_dataset("speech").rows}
    data = load_dataset("text")
    for row in data.rows:
        if data.parts[row.id] != "calibrate":
            continue
        for text in re.split(r"(?<=[.!?])\s+", " ".join(row.fields["text"].replace('"', " ").split())):
            plain = _plain(text)
            fits = FEWEST_WORDS <= len(plain.split()) <= MOST_WORDS
            if fits and plain not in spoken and SENTENCE.fullmatch(text) and not text.endswith(ABBREVIATED):
                spoken.add(plain)
                yield text


def _told_sentences(count: int) -> Iterator[Utterance]:
    """So many sentences, each by a voice of its own."""
    for number, text in enumerate(islice(sentences(), count)):
        dice = random.Random(number)
        yield utterance(text, "sentence", number, pick(dice, ESPEAK_VOICES), dice)


def _speech_rows(cache: SpeechCache, count: int) -> Iterator[Row]:
    for place, one in enumerate(cache.utterances[:count]):
        yield Row(f"train-{place}", {"text": one.text, "language": "en"}, "audio", _wav(cache, place))


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def _encoded(image: Image.Image) -> bytes:
    """As PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _wav(cache: SpeechCache, place: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.asarray(cache.samples(place)), RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()
