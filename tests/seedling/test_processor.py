"""What goes in: pictures of any mode and size, sounds, texts; and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from penjing.data.image import ImageFrontEnd
from penjing.data.image_settings import image_settings
from penjing.data.normal_mel import NormalMel
from penjing.errors import DataError
from penjing.scenes.scene import draw, imagine
from penjing.seedling.front_end import AUDIO_SETTINGS, IMAGE_SETTINGS
from tiny_seedling import processor

RATE_HZ = 16000


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * RATE_HZ)).astype(np.float32)


def test_everything_at_once():
    found = processor()(images=draw(imagine(1)), text=["how many stars?", "what"], audio=noise(1.0))
    assert found["pixel_values"].shape == (1, 3, 64, 64)
    assert found["input_ids"].shape == found["attention_mask"].shape
    assert found["attention_mask"].sum(1).tolist()[1] < found["input_ids"].shape[1]
    assert found["input_features"].shape == (1, 80, 104)
    assert found["feature_mask"].all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_any_mode_and_size_of_picture(mode):
    found = processor()(images=draw(imagine(2)).resize((90, 40)).convert(mode))
    assert found["pixel_values"].shape == (1, 3, 64, 64)


def test_the_shop_sees_and_hears_the_same():
    picture = draw(imagine(3)).resize((97, 71))
    found = processor()(images=picture, audio=noise(0.7))
    settings = image_settings(processor().image_processor.to_dict())
    assert np.allclose(ImageFrontEnd(settings)(picture), found["pixel_values"][0], atol=1e-6)
    assert np.allclose(ImageFrontEnd(IMAGE_SETTINGS)(picture), found["pixel_values"][0], atol=1e-6)
    assert np.array_equal(NormalMel(AUDIO_SETTINGS)(noise(0.7)), found["input_features"][0])


def test_sounds_are_padded_with_a_mask():
    found = processor()(audio=[noise(1.0), noise(0.5)], return_tensors="np")
    assert found["feature_mask"].sum(1).tolist() == [104, 56]
    assert (found["input_features"][1, :, 56:] == 0).all()


@pytest.mark.parametrize(
    ("sound", "what"),
    [(np.zeros(RATE_HZ, np.float32), "silent"), (np.zeros(0, np.float32), "silent"), (noise(12.5), "12.5 s")],
)
def test_sounds_that_are_refused(sound, what):
    with pytest.raises(DataError, match=what):
        processor()(audio=sound)


def test_a_wrong_rate_and_nothing_at_all():
    with pytest.raises(DataError, match="8000 Hz"):
        processor()(audio=noise(1), sampling_rate=8000)
    with pytest.raises(DataError, match="nothing to process"):
        processor()()


def test_unseen_words_have_pieces_and_come_back():
    tokenizer = processor().tokenizer
    for text in ("how many zebras are there", "dónde está el círculo", "多少", "naïve café"):
        assert processor().decode(tokenizer(text).input_ids) == text
    assert len(tokenizer("how many red circles are there").input_ids) == 6
    assert tokenizer("How many  RED circles?").input_ids == tokenizer("how many red circles").input_ids


def test_normalising_brings_training_data_near_zero_and_one():
    see, hear = ImageFrontEnd(IMAGE_SETTINGS), NormalMel(AUDIO_SETTINGS)
    pixels = np.stack([see(draw(imagine(seed))) for seed in range(200)])
    assert np.abs(pixels.mean((0, 2, 3))).max() < 0.15
    assert np.abs(pixels.std((0, 2, 3)) - 1).max() < 0.15
    assert np.isfinite(hear(noise(1.0))).all()
