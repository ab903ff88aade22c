"""Formats beyond the plain ones: read through the extra, refused in one line without it, else named and counted."""

from __future__ import annotations

import importlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penjing.apps.transcribe import ignored_sounds, sound_files
from penjing.data import containers, formats
from penjing.data.audio import audio_length, decode_audio, read_audio
from penjing.data.content import image_sides
from penjing.data.formats import HINT, ignored_note, media_of
from penjing.data.image import read_image
from penjing.data.knowledge import knowledge_notes, read_knowledge
from penjing.data.paths import list_files
from penjing.data.source import load_dataset
from penjing.data.text_files import decode_text, encoding_note, encoding_of, read_text
from penjing.errors import DataError
from tiny_colours import paint

pytestmark = pytest.mark.shop

COLOURS = Image.fromarray(
    np.kron(np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8), np.ones((12, 12, 1), np.uint8))
)
"""48 x 36 pixels."""
TONE_HZ = 440
MEDIA = [("m4a", "ipod", "aac"), ("mp4", "mp4", "aac"), ("webm", "webm", "libopus"), ("aac", "adts", "aac"),
         ("mkv", "matroska", "pcm_s16le"), ("mov", "mov", "pcm_s16le"), ("wma", "asf", "wmav2")]  # fmt: skip
PDF_OBJECTS = (
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Kids[3 0 R]/Count 1>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
    "<</Length {length}>>stream\n{body}\nendstream",
    "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
)


def pdf(text: str) -> bytes:
    """A page with a line of text, or without any."""
    body = f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET" if text else ""
    content, offsets = b"%PDF-1.4\n", []
    for number, form in enumerate(PDF_OBJECTS, 1):
        offsets.append(len(content))
        described = form.replace("{length}", str(len(body))).replace("{body}", body)
        content += f"{number} 0 obj{described}endobj\n".encode("latin1")
    rows = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    table = f"xref\n0 {len(offsets) + 1}\n0000000000 65535 f \n{rows}trailer<</Size {len(offsets) + 1}/Root 1 0 R>>\n"
    return content + f"{table}startxref\n{len(content)}\n%%EOF\n".encode()


def container(
    form: str, codec: str, rate_hz: int = 48000, seconds: float = 2.5, sides: tuple[int, ...] = (1, 1)
) -> bytes:
    """A tone, each channel with its own sign, in a container."""
    av = pytest.importorskip("av")
    tone = 0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(int(rate_hz * seconds)) / rate_hz)
    samples = np.stack([side * tone for side in sides]).astype(np.float32)
    stream = io.BytesIO()
    with av.open(stream, "w", format=form) as opened:
        layout = {1: "mono", 2: "stereo"}[len(sides)]
        track = opened.add_stream(codec, rate=rate_hz, layout=layout, bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(track.format, layout, rate_hz, track.codec_context.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            opened.mux(track.encode(part))
        opened.mux(track.encode(None))
    return stream.getvalue()


@pytest.mark.parametrize(("ending", "form", "codec"), MEDIA)
def test_sound_of_containers_is_heard(ending, form, codec, tmp_path):
    content = container(form, codec)
    path = tmp_path / f"tone.{ending}"
    path.write_bytes(content)
    assert media_of(path) == "audio"
    samples = read_audio(path)
    assert samples.size == pytest.approx(2.5 * 16000, abs=3000)
    spectrum = np.abs(np.fft.rfft(samples[8000:24000]))
    assert abs(int(spectrum.argmax()) - TONE_HZ) <= 1
    assert np.abs(samples[8000:24000]).max() == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(samples, read_audio(content))
    assert decode_audio(path).samples.shape[1] == 2
    frames, rate_hz = audio_length(path)
    assert rate_hz == 48000
    assert frames == 0 or frames / rate_hz == pytest.approx(2.5, abs=0.2)


def test_channels_of_a_container_that_cancel_are_heard():
    samples = read_audio(container("mp4", "aac", sides=(1, -1)))
    assert np.sqrt(np.square(samples[4000:36000]).mean()) == pytest.approx(0.5 / np.sqrt(2), abs=0.05)


def test_containers_that_are_damaged_or_have_no_sound_are_one_line(tmp_path):
    content = container("mp4", "aac")
    bad = {"half": content[: len(content) // 2], "head": content[:40], "none": b"\x00\x00\x00\x18ftypmp42" + bytes(99)}
    for name, damaged in bad.items():
        (tmp_path / f"{name}.m4a").write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            read_audio(tmp_path / f"{name}.m4a")
        assert "\n" not in caught.value.message
        assert caught.value.hint
        assert audio_length(damaged) == (0, 0)
    with pytest.raises(DataError, match="lasts more than 1 s"):
        read_audio(content, longest_s=1.0)


def test_a_playlist_is_not_followed(tmp_path, monkeypatch):
    """FFmpeg opens the files and addresses that a playlist names; here its demuxer is chosen by the first bytes."""
    pytest.importorskip("av")
    (tmp_path / "secret.m4a").write_bytes(container("mp4", "aac"))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{tmp_path}/secret.m4a\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m4a").write_text(playlist)
    for source in (tmp_path / "list.m4a", playlist.encode()):
        assert containers.demuxer_of(source) is None
        with pytest.raises(DataError, match="not a sound"):
            read_audio(source)


@pytest.mark.parametrize(
    ("ending", "form", "options"),
    [("avif", "AVIF", {"quality": 95}), ("jfif", "JPEG", {"quality": 95}), ("jp2", "JPEG2000", {}), ("tga", "TGA", {}),
     ("apng", "PNG", {}), ("jpe", "MPO", {"quality": 95}), ("heic", "HEIF", {"quality": 95})],
)  # fmt: skip
def test_more_images_are_read(ending, form, options, tmp_path):
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    COLOURS.save(tmp_path / f"a.{ending}", form, **options)
    assert media_of(f"a.{ending}") == "image"
    image = read_image(tmp_path / f"a.{ending}")
    assert np.abs(np.asarray(image, int) - np.asarray(COLOURS, int)).mean() < 8
    assert image_sides(tmp_path / f"a.{ending}") == (36, 48)
    assert load_dataset(str(tmp_path)).rows[0].media == "image"


CUT = [("PNG", {}), ("PNG", {"compress_level": 0}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {}),
       ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {}), ("WEBP", {"lossless": True}),
       ("AVIF", {}), ("JPEG2000", {}), ("PPM", {}), ("HEIF", {})]  # fmt: skip


@pytest.mark.parametrize(("form", "options"), CUT)
@pytest.mark.parametrize("cut", [1, 4, 10, 20, 200])
def test_a_file_that_is_cut_short_is_refused_whatever_its_format(form, options, cut, tmp_path):
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 51, 3), np.uint8))
    stream = io.BytesIO()
    noise.save(stream, form, **options)
    assert read_image(stream.getvalue()).size == (51, 40)
    (tmp_path / "cut").write_bytes(stream.getvalue()[:-cut])
    for source in (stream.getvalue()[:-cut], tmp_path / "cut"):
        with pytest.raises(DataError) as caught:
            read_image(source)
        assert caught.value.hint


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP"])
def test_bytes_behind_the_end_are_no_fault(form):
    stream = io.BytesIO()
    frames = [COLOURS, COLOURS.rotate(90)] if form == "GIF" else [COLOURS]
    frames[0].save(stream, form, **({"save_all": True, "append_images": frames[1:]} if form == "GIF" else {}))
    assert read_image(stream.getvalue() + b"\0\0 more").size == COLOURS.size


def test_what_runs_other_programs_is_no_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="is not an image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("package", "content", "ending"), [
    ("av", b"\x00\x00\x00\x18ftypM4A ", "m4a"), ("pillow_heif", b"\x00\x00\x00\x18ftypheic" + bytes(20), "heic"),
    ("pypdf", pdf("hello"), "pdf"),
])  # fmt: skip
def test_without_the_extra_one_line_says_what_to_install(package, content, ending, tmp_path, monkeypatch):
    load = importlib.import_module

    def without(name, *rest):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return load(name, *rest)

    monkeypatch.setattr("penjing.extras.importlib.import_module", without)
    monkeypatch.setattr(formats, "have", lambda name: name != package)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    read = {"m4a": read_audio, "heic": read_image, "pdf": read_text}[ending]
    with pytest.raises(DataError, match=f"{package} reads, which is not installed") as caught:
        read(path)
    assert caught.value.hint == HINT == 'pip install "penjing[media]"'
    paint(tmp_path, "b.png", (1, 2, 3))
    data = load_dataset(str(tmp_path))
    assert [row.id for row in data.rows] == ["b.png"]
    assert data.notes == (f"left out 1 file: 1 .{ending} ({HINT})",)


def test_text_of_a_pdf_is_known_and_indexed(tmp_path):
    pytest.importorskip("pypdf")
    (tmp_path / "manual.pdf").write_bytes(pdf("Water the pot once a week."))
    (passage,) = read_knowledge(tmp_path)
    assert (passage.id, passage.text) == ("manual.pdf", "Water the pot once a week.")
    assert [row.fields["text"] for row in load_dataset(str(tmp_path)).rows] == ["Water the pot once a week."]
    for content, message in (
        (pdf(""), "holds no text"),
        (b"%PDF-1.4 rubbish", "it is damaged"),
        (b"", "it is damaged"),
    ):
        (tmp_path / "manual.pdf").write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_text(tmp_path / "manual.pdf")


SENTENCES = {
    "cp1252": "Größe, Maß und Straße: der Weg führt über die Höhe zurück.",
    "gb18030": "这是一个关于盆景的说明文件，请每周浇水一次。",
    "utf-16": "Größe und 盆景 und бонсай",
    "utf-16-le": "Plain words, saved by an editor without a mark.",
    "utf-16-be": "Plain words, saved by an editor without a mark.",
    "utf-32": "Größe und 盆景",
    "utf-8-sig": "Größe",
    "utf-8": "Größe und 盆景",
    "cp1251": "Поливайте дерево один раз в неделю, не чаще.",
    "shift_jis": "盆栽には週に一度、水をたっぷりやってください。",
    "big5": "這是一個關於盆景的說明文件，請每週澆水一次。",
}


@pytest.mark.parametrize("encoding", SENTENCES)
def test_texts_are_read_in_their_encoding(encoding, tmp_path):
    text = SENTENCES[encoding]
    content = text.encode(encoding)
    assert decode_text(content, "a.txt") == text
    (tmp_path / "a.txt").write_bytes(content)
    assert [passage.text for passage in read_knowledge(tmp_path)] == [text]
    assert [row.fields["text"] for row in load_dataset(str(tmp_path)).rows] == [text]
    has_note = encoding not in ("utf-16", "utf-32", "utf-8-sig", "utf-8")
    assert (encoding_note([tmp_path / "a.txt"]) is not None) is has_note
    assert [note.startswith("not UTF-8, read as ") for note in knowledge_notes(tmp_path)] == [True] * has_note


def test_passages_of_the_builtin_text_are_told_right():
    folder = Path(formats.__file__).parent / "builtin" / "calibration" / "text"
    saved = {"de": "cp1252", "fr": "cp1252", "es": "cp1252", "pt": "cp1252", "zh": "gb18030", "ru": "cp1251",
             "ja": "shift_jis", "ar": "cp1256"}  # fmt: skip
    wrong, count = [], 0
    for line in (folder / "passages.jsonl").read_text(encoding="utf8").splitlines():
        row = json.loads(line)
        encoding = saved.get(row.get("language"))
        try:
            content = row["text"][:600].encode(encoding) if encoding else b""
        except UnicodeEncodeError:
            continue
        if not content or content.isascii():
            continue
        count += 1
        if content.decode(encoding_of(content) or "ascii", "replace") != row["text"][:600]:
            wrong.append(row["id"])
    assert count >= 40
    assert wrong == []


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(range(256)), "äöü".encode() + b"\xff tail"]
)
def test_what_is_no_text_is_refused(content):
    with pytest.raises(DataError, match=r"a\.txt, line \d+ is neither UTF-8") as caught:
        decode_text(content, "a.txt")
    assert caught.value.hint


def test_what_is_not_read_is_named_and_counted(tmp_path):
    for name in ("a.svg", "b.docx", "deep/c.docx", "README", ".hidden.docx"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    paint(tmp_path / "set", "d.png", (1, 2, 3))
    note = "left out 4 files: 2 .docx, 1 .svg, 1 README"
    assert load_dataset(str(tmp_path / "set")).notes == (note,)
    (tmp_path / "set" / "known.md").write_text("Known.")
    assert knowledge_notes(tmp_path / "set") == [note]
    assert ignored_note([]) is None


def test_sounds_of_folders_and_what_else_is_there(tmp_path):
    (tmp_path / "away").mkdir()
    (tmp_path / "all").mkdir()
    for name in ("all/a.wav", "all/b.docx", "away/c.wav"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "all" / "link").symlink_to(tmp_path / "away")
    assert sound_files([str(tmp_path / "all")]) == [str(tmp_path / "all" / "a.wav")]
    note = ignored_sounds([str(tmp_path / "all")])
    assert note is not None
    assert note.startswith("left out 2 files: 1 .docx; links out of the folder: ")
    assert list_files(tmp_path / "all").outside == [tmp_path / "all" / "link"]
    assert ignored_sounds([str(tmp_path / "away")]) is None
