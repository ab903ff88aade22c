"""The method's own settings: whose answers are learned, from which rows, what cannot be."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch

from penjing.data.row import Row
from penjing.data.source import load_dataset
from penjing.errors import DataError, Diverged, RecipeError
from penjing.methods import Aids, make
from penjing.models.anything import model_around
from penjing.models.family import Model
from penjing.models.open import open_model
from penjing.recipe import check_fit, recipe_of
from penjing.teach.joining import kind_of
from tiny_colours import paint_many
from tiny_encoders import WORDS, save_text_classifier
from tiny_models import LLAMA, builder
from tiny_speech import RATE_HZ, save_sounds, save_whisper, sound

QUICK: dict[str, Any] = {"steps": 10, "check_every": 5, "average": 0.5, "task_share": 0.0}


def noisy(model: Model, share: float, seed: int = 0) -> Model:
    source = torch.Generator().manual_seed(seed)
    for parameter in model.net.parameters():
        if parameter.dim() > 1:
            parameter.data.add_(share * parameter.std() * torch.randn(parameter.shape, generator=source))
    return model


def learn(settings: dict[str, Any], model: Model, scratch, **aids: Any) -> list:
    probes = [model.family.probe(model.net, seed) for seed in range(6)]
    given = Aids(model, probes[:3], 0, scratch, **aids)
    return list(make("distill", {**QUICK, **settings}).apply_all(model.towers, probes, given))


def distance(one: Model, other: Model) -> float:
    """How far what two models answer lies apart."""
    probe = one.family.probe(one.net, 1)
    with torch.no_grad():
        outputs = [[tower.run(probe) for tower in model.towers if tower.blocks] for model in (one, other)]
    pairs = zip(*([part[0] if isinstance(part, tuple) else part for part in said] for said in outputs), strict=True)
    return sum(float((left - right).norm() / right.norm()) for left, right in pairs)


def test_another_checkpoint_is_the_teacher_where_it_is_named(fresh, tmp_path):
    """Student (c): it comes nearer to that teacher, not to its own source."""
    noisy(fresh("clip"), 0.3).net.save_pretrained(tmp_path / "teacher")
    teacher, student = open_model(str(tmp_path / "teacher")), fresh("clip")
    before = distance(student, teacher)
    learn({"teacher": str(tmp_path / "teacher"), "steps": 60, "rate": 3e-3}, student, tmp_path)
    assert distance(student, teacher) < 0.9 * before


def test_a_classifier_learns_labels_each_as_often(tmp_path):
    model = open_model(str(save_text_classifier(tmp_path / "texts")))
    first, second, *others = WORDS[:12]
    given = [
        ("calm", f"{first} {first}"),
        ("glad", f"{second} {second}"),
        *[("sad", f"{word} {word}") for word in others],
    ]
    rows = [Row(str(place), {"text": text, "label": label}) for place, (label, text) in enumerate(given)]
    items = [*model.family.batches(model.settings, model.folder, rows)]
    with torch.no_grad():
        before = [int(model.net(**{**item, "labels": None}).logits.argmax()) == int(item["labels"]) for item in items]
    steps = make("distill", {**QUICK, "task_share": 1.0, "steps": 60, "rate": 3e-3, "batch": 6})
    list(steps.apply_all(model.towers, items, Aids(model, items, 0, tmp_path)))
    with torch.no_grad():
        after = [int(model.net(**{**item, "labels": None}).logits.argmax()) == int(item["labels"]) for item in items]
    assert not all(before)
    assert all(after)
    assert len({kind_of(one)[-1] for one in items}) == 3  # each kind is drawn as often


def test_the_source_is_opened_once_more_unless_the_pipeline_says_how(fresh, tmp_path):
    opened = []

    def teacher() -> Model:
        opened.append(True)
        return fresh("clip")

    learn({}, noisy(fresh("clip"), 0.2), tmp_path, teacher=teacher)
    assert opened == [True]


def test_the_bar_tells_the_terms_of_the_loss(fresh, tmp_path):
    told = []
    learn({}, noisy(fresh("seedling"), 0.2), tmp_path, tell=lambda *what: told.append(what))
    steps = [(what, done, of) for what, done, of in told if what.startswith("train · loss ")]
    assert [(done, of) for _, done, of in steps] == [(step, 10) for step in range(1, 11)]
    assert all(term in steps[0][0] for term in ("logits", "features", "affinity"))
    assert told[-1][0].startswith("held-out loss ")


def test_a_step_that_goes_astray_leaves_what_it_had(fresh, tmp_path):
    with pytest.raises(Diverged, match=r"^training diverged at step \d+") as caught:
        learn({"rate": 1e4, "check_every": 1, "average": 0.0}, fresh("whisper"), tmp_path)
    assert "best of step 0 is kept in" in caught.value.hint


def test_a_recipe_that_lets_it_learn_after_other_tokens_is_refused_wherever_that_was(fresh):
    recipe = recipe_of([{"method": "tokens", "towers": ["encoder"], "keep": 3}, {"method": "distill"}])
    with pytest.raises(RecipeError, match="distill after tokens: its teacher would read other tokens"):
        recipe.check(fresh("whisper").towers)


def test_after_other_numbers_of_tokens_there_is_no_teacher(fresh):
    renamed: Any = SimpleNamespace(alters_prompts="gives tokens other numbers")
    assert "other tokens" in make("distill", {}).conflict(renamed)
    assert not make("distill", {"task_share": 1.0}).conflict(renamed)
    assert not make("distill", {}).conflict(make("rtn", {}))


def test_a_teacher_of_another_label_space_is_refused_before_work(fresh, folder_of, tmp_path):
    student = fresh("vit")
    other = fresh("vit")
    other.config.id2label, other.config.label2id = {0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2}
    other.net.save_pretrained(tmp_path / "other")
    method = make("distill", {"teacher": str(tmp_path / "other")})
    with pytest.raises(RecipeError, match="has other labels"):
        method.refuse(student, student.towers)
    make("distill", {"teacher": str(folder_of("vit"))}).refuse(student, student.towers)


def test_bfloat16_is_refused_where_it_is_only_slow(fresh, monkeypatch):
    monkeypatch.setattr("penjing.methods.distill.multiplies_bfloat16", lambda: False)
    model = fresh("clip")
    with pytest.raises(RecipeError, match="no instructions for bfloat16"):
        make("distill", {"bfloat16": True}).refuse(model, model.towers)


def test_estimates_follow_the_settings():
    assert make("distill", {"minutes": 2}).takes() == 120
    assert make("distill", {}).takes() == 0
    assert make("distill", {"steps": 10, "batch": 4}).runs(100) == 100 + 3 * 40
    assert make("distill", {"minutes": 2}).runs(100) == 100


SCALES = {"method": "distill", "trains": "scales", "towers": ["decoder"]}


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("whisper", {"trains": "scales"}, "no weights are codes by then"),
        ("whisper", {"task_share": 0, "logits": 0, "features": 0}, "has nothing that affinity could compare"),
        ("vit", {"task_share": 1}, "hold no words or labels"),
        ("bert", {"task_share": 1}, "hold no words or labels"),
    ],
)
def test_where_nothing_could_be_learned_it_is_said_before_work(name, settings, said, fresh):
    model = fresh(name)
    with pytest.raises(RecipeError, match=said) as caught:
        check_fit(recipe_of([{"method": "distill", **settings}]), model)
    assert caught.value.hint


def test_scales_can_be_learned_of_what_an_earlier_step_rounds(fresh):
    check_fit(recipe_of([{"method": "rtn", "towers": ["decoder"]}, SCALES]), fresh("whisper"))
    with pytest.raises(RecipeError, match="no weights are codes by then"):
        check_fit(recipe_of([SCALES, {"method": "rtn", "towers": ["decoder"]}]), fresh("whisper"))


def test_scales_of_towers_that_stayed_floats_are_refused_in_the_step(fresh, tmp_path):
    model = fresh("clip")
    make("rtn", {"sites": ["*.fc1"]}).run(model.towers[0], [], Aids(model, [], 0, tmp_path))
    probes = [model.family.probe(model.net, seed) for seed in range(3)]
    method = make("distill", {**QUICK, "trains": "scales"})
    with pytest.raises(RecipeError, match=f"nothing to learn: no scales in {model.towers[1].name}"):
        method.run(model.towers[1], probes, Aids(model, probes[:1], 0, tmp_path, teacher=lambda: fresh("clip")))


def test_how_deep_a_student_will_be_is_known_after_its_structure_changed(fresh, tmp_path):
    """Four layers less three may learn from a teacher of two; four may not."""
    deep = builder("LlamaForCausalLM", "LlamaConfig", **{**LLAMA, "num_hidden_layers": 4})
    student = open_model(str(deep(tmp_path / "deep")))
    shallow = builder("LlamaForCausalLM", "LlamaConfig", **LLAMA)(tmp_path / "shallow")
    learning = {"method": "distill", "teacher": str(shallow)}
    check_fit(recipe_of([{"method": "depth", "drop": 3}, learning]), student)
    with pytest.raises(RecipeError, match="the student has 4 layers, its teacher 2"):
        check_fit(recipe_of([learning, {"method": "depth", "drop": 3}]), student)


@pytest.fixture
def clips(tmp_path):
    """A folder of sounds that nobody wrote down."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(6):
        soundfile.write(folder / f"{number}.wav", sound(0.6, number), RATE_HZ)
    return folder


@pytest.fixture
def listener(tmp_path) -> Model:
    return open_model(str(save_whisper(tmp_path / "whisper")))


def test_speech_without_words_is_refused_unless_the_teacher_writes_it_down(clips, listener):
    with pytest.raises(DataError, match=r"has no text, so .* would learn to say nothing") as caught:
        make("distill", {"data": str(clips)}).refuse(listener, listener.towers)
    assert "pseudo_labels: true" in caught.value.hint
    make("distill", {"data": str(clips), "pseudo_labels": True}).refuse(listener, listener.towers)


def test_pictures_without_words_are_refused_for_a_model_that_learns_from_pairs(tmp_path):
    paint_many(tmp_path, 3)
    (tmp_path / "metadata.jsonl").write_text(
        "".join(
            f'{{"file_name": "0/{number:03}.png", "text": "{said}"}}\n' for number, said in enumerate(["a", "", "c"])
        )
    )
    model = open_model("pictures-dual-encoder")
    with pytest.raises(DataError, match=r"has no text, and pictures-dual-encoder learns from pairs"):
        make("distill", {"data": str(tmp_path)}).refuse(model, model.towers)


def test_calibration_speech_without_words_is_refused_too(listener):
    silent, told = [Row("one", {"language": "en"}, "audio", b"")], [Row("two", {"text": "red"}, "audio", b"")]
    for calibrate, select in ((silent, told), (told, silent)):
        with pytest.raises(DataError, match="row 'one' has no text"):
            make("distill", {}).refuse_rows(listener, calibrate, select)
    make("distill", {"data": "speech"}).refuse_rows(listener, silent, told)
    make("distill", {}).refuse_rows(listener, told, told)


@pytest.mark.parametrize(("data", "lacks"), [("text", "audio"), ("pictures", "audio"), ("pictures-train:3", "audio")])
def test_data_of_another_kind_are_refused_before_work(data, lacks, listener):
    with pytest.raises(DataError, match=f"has no {lacks}"):
        make("distill", {"data": data}).refuse(listener, listener.towers)


def test_clips_longer_than_a_model_hears_are_not_joined(listener):
    with pytest.raises(RecipeError, match=r"join_s: 60 joins clips to that many seconds, and .* hears 30 s at most"):
        make("distill", {"data": "speech", "join_s": 60}).refuse(listener, listener.towers)
    make("distill", {"data": "speech", "join_s": 30}).refuse(listener, listener.towers)


def test_rows_to_choose_by_are_not_learned_from(listener, tmp_path):
    """The same folder as `data` and for calibration: half of it says when to stop."""
    folder = save_sounds(tmp_path / "sounds", 8)
    lines = (folder / "metadata.jsonl").read_text().replace('"part"', '"kind"')
    (folder / "metadata.jsonl").write_text(lines)
    rows = load_dataset(str(folder)).rows
    told = []
    aids = Aids(listener, (), 0, tmp_path, lambda what, *_: told.append(what), select_rows=rows[::2])
    items = make("distill", {"data": str(folder)})._items(aids)
    assert len(items) == 4
    assert told == [f"4 rows of {folder} are kept to choose by: nothing is learned from them"]
    lengths = [item["decoder_input_ids"].shape[1] for item in items]
    assert lengths == [len(row.fields["text"].split()) + 5 for row in rows[1::2]]
    aids = Aids(listener, (), 0, tmp_path, select_rows=rows)
    with pytest.raises(DataError, match="no rows to learn from but those to choose by"):
        make("distill", {"data": str(folder)})._items(aids)


def test_a_batch_that_processes_cannot_share_is_refused(fresh, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RecipeError, match="a batch of 16 items cannot be shared by 3 processes"):
        check_fit(recipe_of([{"method": "distill"}]), fresh("clip"))


@pytest.mark.parametrize(
    ("data", "lacks"), [("pictures", "sounds"), ("speech", "pictures"), ("pictures-train", "sounds")]
)
def test_a_model_of_every_modality_is_fed_with_all(data, lacks, fresh):
    model = replace(fresh("seedling"), settings={"image": {"resize": None}, "audio": {"longest_s": 12.0}})
    with pytest.raises(DataError, match=f"{data} has no {lacks}, and"):
        make("distill", {"data": data}).refuse(model, model.towers)
    make("distill", {"data": "scenes"}).refuse(model, model.towers)


def test_a_bare_module_reads_no_data_of_that_name(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    model = model_around(net, {"input": torch.randn(4, 8)})
    with pytest.raises(DataError, match="a bare module reads no data sets"):
        make("distill", {"data": "pictures"}).refuse(model, model.towers)
