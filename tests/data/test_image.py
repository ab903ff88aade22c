"""Our image front end against the PIL-backed processors of transformers, and every bad picture."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penjing.data import image as room
from penjing.data.content import image_sides
from penjing.data.image import STRIP, ImageFrontEnd, open_image, read_image, resized, to_rgb
from penjing.data.image_settings import image_settings
from penjing.errors import DataError, ModelError

SIZES = [(64, 64), (97, 33), (31, 120), (224, 225), (500, 301), (8, 8)]


def picture(width: int, height: int) -> Image.Image:
    dice = np.random.default_rng(width * 1000 + height)
    small = dice.integers(0, 256, (max(2, height // 7), max(2, width // 7), 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def processor(name: str, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    return getattr(transformers, f"{name}ImageProcessorPil")(**options)


PROCESSORS = {
    "clip": ("CLIP", {}),
    "clip-small": ("CLIP", {"size": {"shortest_edge": 48}, "crop_size": {"height": 40, "width": 33}}),
    "clip-crop-larger-than-picture": ("CLIP", {"size": {"shortest_edge": 30}, "crop_size": 41}),
    "siglip": ("Siglip", {"size": {"height": 64, "width": 96}}),
    "vit": ("ViT", {}),
    "vit-lanczos": ("ViT", {"size": 50, "resample": 1}),
    "deit": ("DeiT", {"size": {"height": 80, "width": 80}, "crop_size": 57}),
    "bit": ("Bit", {"size": {"shortest_edge": 60}, "crop_size": 60}),
    "convnext-small": ("ConvNext", {"size": {"shortest_edge": 48}, "crop_pct": 0.8}),
    "convnext-of-resnet": ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 2}),
    "convnext-large": ("ConvNext", {"size": {"shortest_edge": 384}}),
    "swin": ("ViT", {"size": 40, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}),
    "efficientnet": ("EfficientNet", {"size": {"height": 60, "width": 50}}),
    "efficientnet-offset": ("EfficientNet", {"size": 40, "rescale_offset": True, "include_top": False}),
    "efficientnet-cropped": (
        "EfficientNet",
        {"size": 40, "do_center_crop": True, "crop_size": 31, "do_normalize": False},
    ),
    "unscaled": ("ViT", {"do_rescale": False, "image_mean": [3.0, 4.0, 5.0], "size": 20}),
    "bare": ("ViT", {"do_normalize": False, "do_resize": False}),
}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PROCESSORS)
def test_equals_transformers(name: str, size: tuple[int, int]) -> None:
    kind, options = PROCESSORS[name]
    theirs = processor(kind, **options)
    image = picture(*size)
    expected = np.asarray(theirs(image, return_tensors="np")["pixel_values"][0], dtype=np.float32)
    ours = ImageFrontEnd(image_settings(json.loads(theirs.to_json_string())))(image)
    assert ours.dtype == np.float32
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_colour_modes_equal_transformers(mode: str) -> None:
    theirs = processor("CLIP", size={"shortest_edge": 32}, crop_size=32)
    image = picture(40, 50).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    kind = "TIFF" if mode == "CMYK" else "PNG"
    data = encoded(image, kind)
    with Image.open(io.BytesIO(data)) as reopened:
        expected = theirs(reopened, return_tensors="np")["pixel_values"][0]
    ours = ImageFrontEnd(image_settings(json.loads(theirs.to_json_string())))(read_image(data))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.shop
def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert read_image(encoded(clear, "PNG")).getpixel((1, 1)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    assert read_image(encoded(palette, "PNG", transparency=0)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.shop
@pytest.mark.parametrize(
    ("values", "read"),
    [
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[-5, 70_000, 256]], np.int32), [0, 255, 1]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 128.0, 300.0]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, np.inf, 1.0]], np.float32), [0, 255, 1]),
    ],
)
def test_more_than_8_bits_are_scaled(values: Any, read: list[int]) -> None:
    seen = np.asarray(read_image(encoded(Image.fromarray(values), "TIFF")))
    assert seen[0, :, 0].tolist() == read


@pytest.mark.shop
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_it_is_laid_on_white_strip_by_strip_as_at_once(mode: str) -> None:
    image = picture(37, 2 * STRIP + 11).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    read = image.convert("RGBA")
    at_once = Image.alpha_composite(Image.new("RGBA", image.size, "white"), read).convert("RGB")
    np.testing.assert_array_equal(np.asarray(to_rgb(image)), np.asarray(at_once))


@pytest.mark.shop
@pytest.mark.parametrize(("large", "at_once"), [(1, 1), (10_000, 2)])
def test_large_pictures_are_decoded_one_at_a_time(large: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, meeting = [0], [0], threading.Barrier(2)

    def watched(image: Image.Image) -> Image.Image:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)
        inside[0] -= 1
        return image.convert("RGB")

    monkeypatch.setattr(room, "LARGE_PIXELS", large)
    monkeypatch.setattr(room, "to_rgb", watched)
    data = encoded(picture(8, 8), "PNG")
    with ThreadPoolExecutor(2) as pool:
        assert all(image.size == (8, 8) for image in pool.map(read_image, [data] * 2))
    assert most == [at_once]


@pytest.mark.shop
@pytest.mark.parametrize(("large", "side_by_side"), [(1, False), (10_000, True)])
def test_a_large_picture_is_shrunk_before_the_next_is_decoded(
    large: int, side_by_side: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LARGE_PIXELS", large)
    data, decoded = encoded(picture(8, 8), "PNG"), threading.Event()

    def another() -> None:
        read_image(data)
        decoded.set()

    with ThreadPoolExecutor(1) as pool:
        with open_image(data):
            waiting = pool.submit(another)
            assert decoded.wait(5 if side_by_side else 0.5) is side_by_side
        waiting.result(5)
    assert decoded.is_set()


@pytest.mark.shop
def test_what_goes_wrong_with_a_large_picture_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LARGE_PIXELS", 1)
    data = encoded(picture(8, 8), "PNG")
    with pytest.raises(DataError, match="cut short"):
        read_image(data[: len(data) // 2])
    with pytest.raises(ZeroDivisionError), open_image(data):
        raise ZeroDivisionError  # in the block, thus no fault of the picture
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(read_image, data).result(5).size == (8, 8)


@pytest.mark.shop
@pytest.mark.parametrize("size", [(12_000, 1), (1, 12_000), (20_000_000, 1)])
def test_a_strip_is_refused_before_it_becomes_gigabytes(size: tuple[int, int]) -> None:
    front_end = ImageFrontEnd({"resize": {"shortest_edge": 224}, "crop": {"height": 224, "width": 224}})
    with pytest.raises(DataError, match="too narrow to look at"):
        front_end(Image.new("RGB", size))
    assert front_end(Image.new("RGB", (300, 1))).shape == (3, 224, 224)


@pytest.mark.shop
def test_a_turned_picture_is_read_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    assert read_image(encoded(picture(20, 10), "JPEG", exif=exif)).size == (10, 20)


def with_exif(body: bytes, size: tuple[int, int] = (20, 10)) -> bytes:
    """A JPEG with bytes that should be EXIF."""
    plain = encoded(picture(*size), "JPEG")
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]


# A quarter turn between a maker's name and one more tag; the number of the second is said to be that of a float,
# of a signed number, or there is nothing of what should be there.
ENTRIES = b"\x01%b\0\x02\0\0\0\x04abc\0\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
HEAD = b"Exif\0\0MM\0*\0\0\0\x08\0\x02"


@pytest.mark.shop
@pytest.mark.parametrize("tag", [b"\x52", b"\x3e", b"\x55"], ids=["integer", "ratio", "float"])
def test_a_picture_with_damaged_exif_is_read(tag: bytes) -> None:
    body = HEAD + ENTRIES % tag + bytes(4)
    assert read_image(with_exif(body)).size == (10, 20)
    assert image_sides(with_exif(body)) == (10, 20)


@pytest.mark.shop
@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(6, 49), st.integers(0, 255)), max_size=8), st.integers(6, 50))
def test_no_exif_breaks_a_picture(changes: list[tuple[int, int]], end: int) -> None:
    body = bytearray(HEAD + ENTRIES % b"\x0f" + bytes(4))
    for place, value in changes:
        body[place % len(body)] = value
    assert sorted(read_image(with_exif(bytes(body[:end]))).size) == [10, 20]


@pytest.mark.shop
@pytest.mark.parametrize("error", [struct.error, RuntimeError, NotImplementedError, KeyError, ZeroDivisionError])
def test_whatever_pillow_raises_is_a_damaged_picture(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise error("odd")

    monkeypatch.setattr(room.Image, "open", broken)
    with pytest.raises(DataError, match="cannot be read"):
        read_image(b"x")
    assert image_sides(b"x") == ()


@pytest.mark.shop
def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 16, dtype=np.uint16).reshape(4, 4)
    grey = np.asarray(read_image(encoded(Image.fromarray(ramp), "PNG")))[..., 0]
    np.testing.assert_array_equal(grey, ramp >> 8)


@pytest.mark.shop
def test_pictures_are_turned_upright() -> None:
    image = Image.new("RGB", (20, 10), "blue")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = read_image(encoded(image, "JPEG", exif=exif.tobytes()))
    assert upright.size == (10, 20)
    assert upright.mode == "RGB"


@pytest.mark.shop
def test_reads_paths_and_first_frames(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue")]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    for source in (path, str(path), path.read_bytes()):
        image = read_image(source)
        assert (image.size, image.mode) == ((6, 5), "RGB")
        red, _, blue = np.asarray(image)[0, 0].tolist()
        assert red > blue


@pytest.mark.shop
def test_bad_pictures_say_what_is_wrong(tmp_path: Path) -> None:
    whole = encoded(picture(200, 200), "PNG")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    expected = {
        "cut.png": "is cut short",
        "notes.txt": "is not an image",
        "empty.png": "is not an image",
        "absent.png": "no such image",
    }
    for name, words in expected.items():
        with pytest.raises(DataError, match=words) as caught:
            read_image(tmp_path / name)
        assert name in caught.value.message
        assert caught.value.hint
    with pytest.raises(DataError, match="image bytes"):
        read_image(b"nonsense")


@pytest.mark.shop
def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(DataError, match="too large"):
        read_image(bomb)
    with pytest.raises(DataError, match="too large"):
        read_image(encoded(Image.new("1", (10_000, 9_000)), "PNG"))


@pytest.mark.shop
@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 400))
def test_shortest_edge_keeps_the_ratio(width: int, height: int, edge: int) -> None:
    wide, high = resized(width, height, {"shortest_edge": edge})
    assert min(wide, high) == edge
    assert abs(max(wide, high) - edge * max(width, height) / min(width, height)) < 1


@pytest.mark.shop
def test_old_files_get_the_defaults_of_their_kind() -> None:
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 96, "crop_size": 90, "resample": 3}
    settings = image_settings({**old, "do_resize": True, "do_normalize": True, "do_center_crop": True})
    assert settings["resize"] == {"shortest_edge": 96}
    assert settings["crop"] == {"height": 90, "width": 90}
    assert settings["resample"] == "bicubic"
    assert settings["scale"] == pytest.approx(1 / 255)
    assert settings["mean"][0] == pytest.approx(0.48145466)
    assert ImageFrontEnd(settings)(picture(100, 130)).shape == (3, 90, 90)
    vit = image_settings({"image_processor_type": "ViTImageProcessorFast", "size": [30, 40], "image_mean": 0.25})
    assert vit["resize"] == {"height": 30, "width": 40}
    assert vit["mean"] == [0.25] * 3
    assert vit["crop"] is None
    assert json.loads(json.dumps(vit)) == vit
    resnet = image_settings({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875})
    assert resnet["resize"] == {"shortest_edge": 256}
    assert resnet["crop"] == {"height": 224, "width": 224}
    assert resnet["mean"] == [0.485, 0.456, 0.406]
    assert image_settings({"image_processor_type": "ConvNextImageProcessor"})["crop"] is None


@pytest.mark.shop
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "no type"),
        ({"image_processor_type": "Pix2StructImageProcessor"}, "unknown image processor"),
        ({"image_processor_type": "ViTImageProcessor", "crop_pct": 0.9}, "crop_pct"),
        ({"image_processor_type": "ConvNextImageProcessor", "do_center_crop": True, "crop_size": 8}, "of its own"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"height": 8, "width": 8}}, "of its own"),
        ({"image_processor_type": "ViTImageProcessor", "do_pad": True}, "do_pad"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"longest_edge": 3}}, "unknown image size"),
        ({"image_processor_type": "ViTImageProcessor", "resample": 9}, "resampling filter"),
        ({"image_processor_type": "ViTImageProcessor", "image_std": [1.0]}, "1 channels"),
    ],
)
def test_an_unknown_option_is_never_ignored(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        image_settings(config)
    assert caught.value.hint


@pytest.mark.shop
def test_options_that_are_off_change_nothing() -> None:
    plain = image_settings({"image_processor_type": "ViTImageProcessor"})
    assert image_settings({"image_processor_type": "ViTImageProcessor", "do_pad": False, "pad_size": None}) == plain
    with pytest.raises(ModelError, match="unknown image setting"):
        ImageFrontEnd({**plain, "flip": True})
