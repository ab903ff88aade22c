"""The runner of many modalities: the same words in every engine, and what it refuses."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from engine_rack import EXACT, in_turns, relative_errors
from penjing.artifact.export import export_component
from penjing.errors import DataError
from penjing.models.open import open_model
from penjing.models.reference import TorchGraph
from penjing.runtimes.decoding import GraphDecoder
from penjing.runtimes.multimodal import GRAPHS, MultimodalRunner
from penjing.runtimes.openvino_decoder import StatefulDecoder
from penjing.runtimes.sampling import Sampling, Style
from penjing.runtimes.transcription import NO_FILTER, Transcription
from penjing.scenes.scene import draw, imagine

FLOAT = 1e-4
RATE_HZ = 16000
SOUND = np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32)
PICTURE = draw(imagine(1))


@pytest.fixture(scope="module")
def model(seedling_folder):
    found = open_model(str(seedling_folder))
    with torch.no_grad():  # random weights repeat one word; these change with what is seen and written
        for layer in found.net.decoder.layers:
            layer.cross.out_proj.weight.mul_(10)
        found.net.decoder.positions.normal_(generator=torch.Generator().manual_seed(4))
    return found


@pytest.fixture(scope="module")
def graphs(model, tmp_path_factory):
    """component -> engine -> graph"""
    folder = tmp_path_factory.mktemp("graphs")
    found = {}
    for component in model.family.components(model.net):
        path = export_component(component, folder)
        found[component.name] = {
            "torch": TorchGraph(component),
            **{name: engine.open(path) for name, engine in EXACT.items()},
        }
    return folder, found


@pytest.fixture(scope="module")
def runners(model, graphs):
    folder, opened = graphs
    found = {}
    for engine in ("torch", *EXACT):
        parts = {part: opened[name][engine] for part, name in GRAPHS.items()}
        decoder = GraphDecoder(opened["decoder_with_past_model"][engine], model.settings)
        found[engine] = MultimodalRunner(parts, decoder, model.settings, model.folder / "tokenizer.json")
    parts = {part: opened[name]["openvino"] for part, name in GRAPHS.items()}
    stateful = StatefulDecoder(folder / "decoder_with_past_model.onnx", EXACT["openvino"])
    found["stateful"] = MultimodalRunner(parts, stateful, model.settings, model.folder / "tokenizer.json")
    return found


def written(runner: MultimodalRunner, sound: np.ndarray) -> Transcription:
    return runner.transcribe(sound, speech_filter=NO_FILTER)


def test_every_component_gives_the_same_in_every_engine(model, graphs):
    for component in model.family.components(model.net):
        inputs = {name: tensor.numpy() for name, tensor in component.inputs.items()}
        engines = graphs[1][component.name]
        wanted = engines["torch"](inputs)
        for name in EXACT:
            assert max(relative_errors(engines[name](inputs), wanted).values()) <= FLOAT, (component.name, name)


@pytest.mark.parametrize("seconds", [0.4, 1.0, 3.3])
def test_sounds_of_any_length_are_heard_alike(seconds, runners):
    sound = np.random.default_rng(1).normal(0, 0.1, int(seconds * RATE_HZ)).astype(np.float32)
    wanted = runners["torch"].embed([sound])
    for name in EXACT:
        assert np.abs(runners[name].embed([sound]) - wanted).max() < FLOAT


def test_the_same_words_come_out_of_every_engine_and_of_the_model(model, runners):
    for runner in runners.values():
        assert runner.caption(PICTURE) == runners["torch"].caption(PICTURE)
        assert runner.ask(PICTURE, "how many red stars") == runners["torch"].ask(PICTURE, "how many red stars")
        assert runner.ask(PICTURE, SOUND) == runners["torch"].ask(PICTURE, SOUND)
        assert written(runner, SOUND).text == written(runners["torch"], SOUND).text
    import penjing.seedling

    processor = penjing.seedling.SeedlingProcessor.from_pretrained(model.folder)
    inputs = processor(images=PICTURE, text="how many red stars")
    (tokens,) = model.net.generate("answer", **{key: inputs[key] for key in ("pixel_values", "input_ids")})
    said = processor.decode(tokens)
    heard = runners["torch"].ask(PICTURE, "how many red stars")
    assert said.startswith(heard), "a loop may end earlier here"
    assert len(heard) > 3


def test_embeddings_have_unit_length_and_their_own_modality(runners, tmp_path):
    runner = runners["onnxruntime"]
    PICTURE.save(tmp_path / "a.png")
    soundfile.write(tmp_path / "a.wav", SOUND, RATE_HZ)
    for items in (["a red star", "two"], [PICTURE, PICTURE], [tmp_path / "a.png"], [tmp_path / "a.wav"], [SOUND]):
        vectors = runner.embed(items)
        assert vectors.shape == (len(items), 16)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(runner.embed([tmp_path / "a.png"]), runner.embed([PICTURE]), atol=1e-6)
    with pytest.raises(DataError, match="may be a picture or a sound"):
        runner.embed([(tmp_path / "a.png").read_bytes()])
    assert runner.embed([(tmp_path / "a.png").read_bytes()], "image").shape == (1, 16)
    with pytest.raises(DataError, match="neither a picture nor a sound"):
        runner.embed([Path("a.txt")])
    with pytest.raises(DataError, match="no modality called 'smell'"):
        runner.embed(["a"], "smell")


def test_sounds_that_are_refused(runners):
    runner = runners["torch"]
    with pytest.raises(DataError, match="silent"):
        runner.embed([np.zeros(RATE_HZ, np.float32)], "audio")
    with pytest.raises(DataError, match=r"lasts 13\.0 s; this model hears 12 s"):
        runner.embed([np.full(13 * RATE_HZ, 0.1, np.float32)], "audio")


def test_long_sounds_are_heard_in_windows_and_silence_among_them_is_none(runners):
    runner = runners["torch"]
    noise = np.random.default_rng(0).normal(0, 0.1, 8 * RATE_HZ).astype(np.float32)
    found = written(runner, np.concatenate([noise, np.zeros(14 * RATE_HZ, np.float32), noise]))
    assert found.audio_seconds == 30.0
    assert len(found.segments) > 1
    assert (found.segments[0].start_s, found.segments[-1].end_s) == (0.0, 30.0)
    assert max(part.end_s - part.start_s for part in found.segments) <= runner.longest_s
    silent = [part for part in found.segments if part.start_s >= 8 and part.end_s <= 22]
    assert silent == []
    assert written(runner, np.zeros(2 * RATE_HZ, np.float32)) == Transcription("", None, 2.0, ())
    assert runner.transcribe(noise) == Transcription("", None, 8.0, ()), "nobody speaks in noise"
    with pytest.raises(DataError, match="does not know the language 'fr'"):
        runner.transcribe(SOUND, "fr")
    assert runner.transcribe(SOUND, "en").audio_seconds == 1.0


def test_a_question_in_no_known_words_is_refused_and_unseen_ones_are_not(runners):
    runner = runners["torch"]
    for question in ("wieviele kreise", "多少个圆", "xyzzy", "?!"):
        with pytest.raises(DataError, match=r"knows no word|empty text"):
            runner.ask(PICTURE, question)
    assert isinstance(runner.ask(PICTURE, "how many zebras are there"), str)
    with pytest.raises(DataError, match="empty"):
        runner.ask(PICTURE, "  ")
    with pytest.raises(DataError, match=r"a question of \d+ tokens; this model reads \d+ at most"):
        runner.ask(PICTURE, "how many red circles are there " * 40)
    with pytest.raises(DataError, match="needs a picture"):
        runner.ask(None, "how many red stars")
    with pytest.raises(DataError, match="needs a question"):
        runner.ask(PICTURE, None)


def test_encoded_bytes_will_do(runners):
    image, sound = io.BytesIO(), io.BytesIO()
    PICTURE.save(image, "PNG")
    soundfile.write(sound, SOUND, RATE_HZ, format="WAV", subtype="FLOAT")
    runner = runners["torch"]
    assert runner.ask(image.getvalue(), sound.getvalue()) == runner.ask(PICTURE, SOUND)


@pytest.mark.parametrize("engine", ["onnxruntime", "stateful"])
def test_captions_that_are_consumed_in_turns_do_not_mix(engine, runners):
    def begun() -> list[Iterator[str]]:
        pictures = [PICTURE, draw(imagine(2)), draw(imagine(3))]
        return [
            runners[engine].captioning(picture, Style(12, Sampling(2.0, seed=seed)))
            for seed, picture in enumerate(pictures)
        ]

    alone = [[*pieces] for pieces in begun()]
    assert len({tuple(pieces) for pieces in alone}) == 3
    assert in_turns(begun()) == alone


def test_a_caption_that_is_given_up_leaves_the_next_alone(runners):
    runner, style = runners["stateful"], Style(12, Sampling(1.0, seed=3))
    whole = [*runner.captioning(PICTURE, style)]
    given_up = runner.captioning(draw(imagine(2)), style)
    next(given_up)
    given_up.close()
    assert [*runner.captioning(PICTURE, style)] == whole
