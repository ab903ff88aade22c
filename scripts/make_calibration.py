"""Make the built-in calibration material: make_calibration.py OUT --fleurs F --librivox L --telephone T --photographs P
--drawings D

FLEURS is a folder of `fleurs-LANGUAGE-NNN.ogg` with transcripts beside them; LIBRIVOX is `test/data/librivox` of the
source package of pocketsphinx; TELEPHONE is a folder into which the Debian packages asterisk-core-sounds-it,
asterisk-core-sounds-it-wav, asterisk-core-sounds-ru and asterisk-core-sounds-ru-wav were unpacked; PHOTOGRAPHS is
`skimage/data` of scikit-image; DRAWINGS is `usr/share/openclipart/png` of the Debian package openclipart-png. The
passages of text are those of `calibration_passages` beside this script. A part that is not given is not made again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
from PIL import Image

PASSAGES = Path(__file__).parent / "calibration_passages"
HEADING = "=== "
SELECT_EVERY = 3
"""Every third group of rows selects (float sites, strengths), the others calibrate. None judges."""
JPEG_QUALITY = 90
PHOTOGRAPH_PIXELS, DRAWING_PIXELS = 384, 256
"""Longest side."""
DOCUMENTS = "usr/share/doc/asterisk-core-sounds-{0}/core-sounds-{0}.txt.gz"
SOUNDS = {"it": "it_IT_m_Carlo", "ru": "ru_RU_f_IvrvoiceRU"}
SPEAKERS = {"it": "carlo-flora", "ru": "ivrvoice-ru"}
PROMPTS = {
    "it": (
        "agent-alreadyon", "conf-invalid", "confbridge-pin", "demo-abouttotry", "demo-nogo", "demo-thanks",
        "followme/sorry", "privacy-prompt", "queue-periodic-announce", "ss-noservice", "vm-newuser", "vm-nobox",
    ),
    "ru": (
        "check-number-dial-again", "confbridge-lock-no-join", "demo-nomatch", "dictate/both_help", "followme/status",
        "pbx-invalid", "privacy-unident", "queue-youarenext", "simul-call-limit-reached", "tt-allbusy", "vm-intro",
        "vm-newuser",
    ),
}  # fmt: skip
"""Prompts of three seconds and more that are whole sentences without digits."""


class Picture(NamedTuple):
    """One picture to make: its source, the part of it in pixels (left, upper, right, lower) and what it shows."""

    name: str
    source: str
    box: tuple[int, int, int, int] | None
    text: str
    questions: tuple[tuple[str, str], ...] = ()


PHOTOGRAPHS = (
    Picture(
        "astronaut", "astronaut.png", None, "An astronaut in an orange suit smiles in front of a flag.",
        (("What colour is the suit?", "orange"), ("What lies in front of her?", "a helmet")),
    ),
    Picture("astronaut-face", "astronaut.png", (140, 0, 340, 200), "The face of a smiling woman with short hair."),
    Picture("astronaut-helmet", "astronaut.png", (290, 320, 512, 512), "A black and white helmet beside a suit."),
    Picture("brick", "brick.png", (0, 0, 256, 256), "Rows of long grey bricks."),
    Picture(
        "camera", "camera.png", None, "A man in a dark coat looks through a camera on a tripod.",
        (("What does the camera stand on?", "a tripod"),),
    ),
    Picture("camera-head", "camera.png", (150, 40, 350, 240), "A man holds his eye to a camera."),
    Picture("camera-houses", "camera.png", (330, 80, 512, 260), "A tower and houses behind a lawn."),
    Picture("cell", "cell.png", (310, 265, 535, 490), "A bright round cell under the microscope."),
    Picture(
        "cat", "chelsea.png", None, "A tabby cat looks to the side.",
        (("Which animal is this?", "a cat"), ("What colour are its eyes?", "green")),
    ),
    Picture("cat-eyes", "chelsea.png", (110, 60, 370, 260), "The green eyes and the nose of a cat."),
    Picture(
        "coffee", "coffee.png", None, "A cup of coffee with a spoon on a red saucer on a wooden table.",
        (("What is in the cup?", "coffee"), ("What is the table made of?", "wood")),
    ),
    Picture("coffee-cup", "coffee.png", (150, 10, 470, 330), "A red cup of espresso seen from above."),
    Picture("grass", "grass.png", (0, 0, 256, 256), "Short grass from above, in black and white."),
    Picture("gravel", "gravel.png", (0, 0, 256, 256), "Many small grey stones."),
    Picture("galaxies", "hubble_deep_field.jpg", (0, 0, 500, 436), "Small bright galaxies on a black sky."),
    Picture(
        "galaxies-below", "hubble_deep_field.jpg", (500, 436, 1000, 872), "Galaxies of many colours in deep space.",
        (("What colour is the background?", "black"),),
    ),
    Picture("retina", "retina.jpg", None, "The inside of a human eye, red with fine vessels."),
    Picture("retina-disc", "retina.jpg", (40, 460, 500, 920), "Blood vessels that meet in a yellow spot."),
    Picture(
        "rocket", "rocket.jpg", None, "A white rocket stands on its launch pad at dusk.",
        (("What stands on the pad?", "a rocket"),),
    ),
    Picture("rocket-pad", "rocket.jpg", (200, 190, 440, 427), "Bright lamps at the foot of a rocket."),
)  # fmt: skip
"""Of scikit-image, only what its documentation calls CC0 or public domain."""

DRAWINGS = (
    Picture("gull", "animals/birds/gull_marcelo_staudt_01.png", None, "A white and grey gull stands."),
    Picture("fish", "animals/fish/giraffe_cichlid_01.png", None, "A dark green fish with pale marks."),
    Picture(
        "ladybird", "animals/bugs/coccinellona_architetto__01.png", None, "A red ladybird with black spots.",
        (("What colour are the spots?", "black"),),
    ),
    Picture("grapes", "food/fruit/grape_01.png", None, "A bunch of purple grapes with a leaf."),
    Picture(
        "watermelon", "food/fruit/pasteque_01.png", None, "Half a watermelon, red inside and green outside.",
        (("Which fruit is this?", "a watermelon"),),
    ),
    Picture("aeroplane", "transportation/vehicles/aircraft_jarno_vasamaa3.png", None, "A small white aeroplane."),
    Picture("factory", "buildings/factory_gabrielle_nowick_.png", None, "A brick factory with smoking chimneys."),
    Picture(
        "lighthouse", "buildings/homes/lighthouse_matthew_gates_.png", None, "A lighthouse with red and white stripes.",
        (("What pattern has the lighthouse?", "stripes"),),
    ),
    Picture(
        "digital-camera", "electronics/macchina_fotografica_di_01.png", None, "A grey digital camera from the front."
    ),
    Picture(
        "blue-car", "recreation/holiday/car_ride_ganson.png", None, "Someone waves out of a blue car without a roof.",
        (("What colour is the car?", "blue"),),
    ),
    Picture("basket", "office/cestino_vuoto_architetto_01.png", None, "An empty grey waste basket."),
    Picture("flask", "education/erlenmeyer_jean_vitor_ba_.png", None, "A glass flask with a purple liquid."),
    Picture("water-skier", "people/water_skier_ganson.png", None, "A person rides one water ski through spray."),
    Picture("clock", "signs_and_symbols/clocks/clock02.png", None, "A round clock with a blue rim and blue hands."),
)  # fmt: skip


def part_of(group: int) -> str:
    """The part of the rows of a group, by its number."""
    return "select" if group % SELECT_EVERY == SELECT_EVERY - 1 else "calibrate"


def fleurs_rows(fleurs: Path, folder: Path) -> list[dict[str, str]]:
    """Copy the sentences of FLEURS as they are."""
    rows = []
    for number, clip in enumerate(sorted(fleurs.glob("fleurs-*.ogg"))):
        language = clip.stem.split("-")[1]
        shutil.copyfile(clip, folder / clip.name)
        text = clip.with_suffix(".txt").read_text(encoding="utf8").strip()
        rows.append(audio_row(clip.name, text, language, part_of(number)))
    return rows


def librivox_rows(librivox: Path, folder: Path) -> list[dict[str, str]]:
    """Encode sentences of a LibriVox reading of `Sense and Sensibility`."""
    rows = []
    for number, clip in enumerate(sorted(librivox.glob("*.wav"))):
        name = f"librivox-en-{number:03d}.ogg"
        encode(clip, folder / name)
        text = clip.with_suffix(".txt").read_text(encoding="utf8").strip().replace("a more a amiable", "a more amiable")
        rows.append({**audio_row(name, text, "en", part_of(number)), "speaker": "librivox-austen"})
    return rows


def telephone_rows(packages: Path, folder: Path, language: str) -> list[dict[str, str]]:
    """Encode prompts of a telephone exchange, 8 kHz."""
    with gzip.open(packages / DOCUMENTS.format(language), "rt", encoding="utf8", errors="replace") as lines:
        texts = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
    rows = []
    for number, prompt in enumerate(PROMPTS[language]):
        name = f"telephone-{language}-{number:03d}.ogg"
        encode(packages / "usr/share/asterisk/sounds" / SOUNDS[language] / f"{prompt}.wav", folder / name)
        row = audio_row(name, " ".join(texts[prompt].split()), language, part_of(number))
        rows.append({**row, "speaker": SPEAKERS[language]})
    return rows


def audio_row(name: str, text: str, language: str, part: str) -> dict[str, str]:
    """One line of the table of sounds."""
    return {"file_name": name, "part": part, "text": text, "language": language, "source": "people"}


def encode(source: Path, target: Path) -> None:
    """Encode a WAV file as Ogg Opus at its own sampling rate."""
    samples, rate_hz = soundfile.read(source, dtype="float32")
    soundfile.write(target, samples, rate_hz, format="OGG", subtype="OPUS")


def picture_rows(
    pictures: Sequence[Picture], source: Path, kind: str, write: Callable[[Picture, Path], Any]
) -> list[dict[str, str]]:
    """Write pictures by `write` and list them: a row for the caption, one for every question.

    All rows that come from one source picture are in the same part.
    """
    originals = list(dict.fromkeys(picture.source for picture in pictures))
    rows = []
    for picture in pictures:
        name = write(picture, source)
        row = {"file_name": name, "part": part_of(originals.index(picture.source)), "language": "en", "source": kind}
        rows.append({**row, "text": picture.text})
        rows += [{**row, "question": question, "answer": answer} for question, answer in picture.questions]
    return rows


def make_audio(out: Path, fleurs: Path, librivox: Path, telephone: Path) -> None:
    """Write the sounds and their table."""
    folder = fresh(out / "audio")
    rows = [*fleurs_rows(fleurs, folder), *librivox_rows(librivox, folder)]
    rows += [row for language in PROMPTS for row in telephone_rows(telephone, folder, language)]
    write_rows(folder / "metadata.jsonl", rows)


def make_images(out: Path, photographs: Path, drawings: Path) -> None:
    """Write the pictures and their table: photographs as JPEG, drawings as PNG."""
    folder = fresh(out / "images")

    def photograph(picture: Picture, source: Path) -> str:
        with Image.open(source / picture.source) as image:
            part = image.convert("RGB").crop(picture.box or (0, 0, *image.size))
        part.thumbnail((PHOTOGRAPH_PIXELS, PHOTOGRAPH_PIXELS), Image.Resampling.LANCZOS)
        part.save(folder / f"{picture.name}.jpg", quality=JPEG_QUALITY)
        return f"{picture.name}.jpg"

    def drawing(picture: Picture, source: Path) -> str:
        with Image.open(source / picture.source) as image:
            cut = image.convert("RGBA")
        cut = cut.crop(cut.getchannel("A").getbbox())
        cut.thumbnail((DRAWING_PIXELS, DRAWING_PIXELS), Image.Resampling.LANCZOS)
        page = Image.new("RGBA", cut.size, "white")
        page.alpha_composite(cut)
        page.convert("RGB").quantize(128).save(folder / f"{picture.name}.png", optimize=True)
        return f"{picture.name}.png"

    rows = picture_rows(PHOTOGRAPHS, photographs, "photograph", photograph)
    write_rows(folder / "metadata.jsonl", rows + picture_rows(DRAWINGS, drawings, "drawing", drawing))


def make_text(out: Path) -> None:
    """Write the table of passages: `=== LANGUAGE` stands above each in `calibration_passages/REGISTER.txt`."""
    rows = []
    for file in sorted(PASSAGES.glob("*.txt")):
        for number, passage in enumerate(passages(file.read_text(encoding="utf8"))):
            language, text = passage
            identity = {"id": f"{file.stem}-{number:02d}", "part": part_of(number)}
            rows.append({**identity, "text": text, "language": language, "source": file.stem})
    write_rows(fresh(out / "text") / "passages.jsonl", rows)


def passages(content: str) -> list[tuple[str, str]]:
    """Cut a file into (language, text)."""
    blocks = f"\n{content}".split(f"\n{HEADING}")[1:]
    return [(language.strip(), text.strip("\n")) for language, _, text in (block.partition("\n") for block in blocks)]


def fresh(folder: Path) -> Path:
    """Empty a folder of what was made before; its README stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.name != "README.md":
            file.unlink()
    return folder


def write_rows(table: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write rows as JSON lines."""
    table.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf8")


def main() -> None:
    """Make every part whose material is given; the text always."""
    parser = argparse.ArgumentParser(description="Make the built-in calibration material.")
    parser.add_argument("out", type=Path)
    for name in ("fleurs", "librivox", "telephone", "photographs", "drawings"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    if given.fleurs and given.librivox and given.telephone:
        make_audio(given.out, given.fleurs, given.librivox, given.telephone)
    if given.photographs and given.drawings:
        make_images(given.out, given.photographs, given.drawings)
    make_text(given.out)


if __name__ == "__main__":
    main()
