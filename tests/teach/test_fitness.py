"""A teacher must read what its student reads and mean the same by labels and word pieces; losses must say something."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from penjing.errors import RecipeError
from penjing.models.family import Model
from penjing.models.open import open_model
from penjing.teach.fitness import check_losses, check_shares, check_teacher, heard_s
from penjing.teach.objective import DISTILLED, Weights
from tiny_models import IMAGE, TEXT, builder
from tiny_speech import save_whisper


def test_a_model_can_learn_from_itself(fresh):
    for name in ("clip", "whisper", "vit", "llama", "seedling"):
        check_teacher(fresh(name), fresh(name), True)
    assert True


@pytest.mark.parametrize(
    ("labels", "said"),
    [({0: "LABEL_0", 1: "cat", 2: "LABEL_2"}, "number 1 is 'cat' and not"), ({0: "a", 1: "b"}, "2 and not 3")],
)
def test_other_labels_are_refused(labels, said, fresh):
    teacher = fresh("vit")
    teacher.config.id2label = labels
    with pytest.raises(RecipeError, match=f"has other labels than .*{said}"):
        check_teacher(fresh("vit"), teacher, False)


def test_another_number_of_word_pieces_is_refused(fresh):
    teacher = fresh("llama")
    teacher.config.vocab_size += 1
    with pytest.raises(RecipeError, match="reads other word pieces"):
        check_teacher(fresh("llama"), teacher, False)


def test_another_tokenizer_of_the_same_size_is_refused(tmp_path):
    student = open_model(str(save_whisper(tmp_path / "one")))
    other = shutil.copytree(tmp_path / "one", tmp_path / "other")
    read = json.loads((other / "tokenizer.json").read_text(encoding="utf8"))
    first, second = [*read["model"]["vocab"]][:2]
    vocab = read["model"]["vocab"]
    vocab[first], vocab[second] = vocab[second], vocab[first]
    (other / "tokenizer.json").write_text(json.dumps(read), encoding="utf8")
    teacher = replace(student, folder=other, name="other")
    check_teacher(student, replace(student, name="same"), False)
    with pytest.raises(RecipeError, match="other reads other word pieces") as caught:
        check_teacher(student, teacher, False)
    assert "same tokenizer" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "other", "said"),
    [("clip", "llama", "reads no pixel_values, which"), ("vit", "bert", "reads no pixel_values, which")],
)
def test_a_teacher_that_reads_other_things_is_refused(name, other, said, fresh):
    with pytest.raises(RecipeError, match=said) as caught:
        check_teacher(fresh(name), fresh(other), True)
    assert "reads what its student reads" in caught.value.hint


@pytest.mark.parametrize(("name", "config"), [("vit", "ViTConfig"), ("clip", "CLIPConfig")])
def test_a_teacher_for_pictures_of_another_size_is_refused(name, config, fresh, tmp_path):
    wide = {**IMAGE, "image_size": 48}
    settings = wide if name == "vit" else {"text_config": TEXT, "vision_config": wide, "projection_dim": 16}
    built = builder("ViTForImageClassification" if name == "vit" else "CLIPModel", config, **settings)
    student = fresh(name)
    teacher = open_model(str(built(tmp_path / "wide")))
    teacher.config.id2label = student.config.id2label
    with pytest.raises(RecipeError, match=r"pixel_values of \(3, 32, 32\), and it takes \(3, 48, 48\)"):
        check_teacher(student, teacher, False)


def test_a_teacher_that_answers_nothing_of_what_the_student_does_is_refused(fresh, tmp_path):
    """One writes words, the other gives a vector."""
    teacher = open_model(str(builder("BertModel", "BertConfig", **TEXT)(tmp_path / "encoder")))
    with pytest.raises(RecipeError, match=r"answers nothing that .* answers"):
        check_teacher(fresh("llama"), teacher, False)


def test_another_number_of_word_pieces_in_a_nested_configuration_is_refused(fresh):
    teacher = fresh("clip")
    teacher.config.text_config.vocab_size += 1
    with pytest.raises(RecipeError, match="reads other word pieces"):
        check_teacher(fresh("clip"), teacher, False)


@pytest.mark.parametrize(
    ("merges", "fits"), [([["a", "b"], ["ab", "c"]], True), (["a b", "ab c"], True), (["ab c", "a b"], False)]
)
def test_merges_are_compared_however_they_are_written(merges, fits, fresh, tmp_path):
    """Word pieces in another order of merging are others, with the same vocabulary."""
    models = []
    for name, own in (("one", ["a b", "ab c"]), ("other", merges)):
        model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4}, "merges": own}
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(json.dumps({"model": model}), encoding="utf8")
        models.append(replace(fresh("llama"), folder=tmp_path / name))
    if fits:
        assert check_teacher(models[0], models[1], False) is None
    else:
        with pytest.raises(RecipeError, match="reads other word pieces"):
            check_teacher(models[0], models[1], False)


def test_a_tokenizer_that_reads_the_same_pieces_otherwise_is_refused(fresh, tmp_path):
    """The same pieces after another normalizer, and in another order in the files that older checkpoints have."""
    words = ["the", "quick", "fox", "Fox"]
    known = {word: number for number, word in enumerate(["[UNK]", *words])}
    pieces = {"type": "WordLevel", "vocab": known, "unk_token": "[UNK]"}
    models = []
    for name, normalizer in (("cased", None), ("lower", {"type": "Lowercase"})):
        read = {"version": "1.0", "added_tokens": [], "normalizer": normalizer, "model": pieces,
                "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None}  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(read), encoding="utf8")
        models.append(replace(fresh("llama"), folder=tmp_path / name))
    with pytest.raises(RecipeError, match="reads other word pieces"):
        check_teacher(*models, False)
    check_teacher(models[0], models[0], False)
    padded = json.loads((tmp_path / "cased" / "tokenizer.json").read_text(encoding="utf8"))
    padded["padding"] = {"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": None,
                         "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"}  # fmt: skip
    padded["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "padded").mkdir()
    (tmp_path / "padded" / "tokenizer.json").write_text(json.dumps(padded), encoding="utf8")
    check_teacher(models[0], replace(fresh("llama"), folder=tmp_path / "padded"), False)
    bert = fresh("bert")
    for name, order in (("one", words), ("other", words[::-1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes((bert.folder / "config.json").read_bytes())
        (tmp_path / name / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
        (tmp_path / name / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *order]))
    with pytest.raises(RecipeError, match="reads other word pieces"):
        check_teacher(replace(bert, folder=tmp_path / "one"), replace(bert, folder=tmp_path / "other"), False)


def weights(task_share: float, *losses: str) -> Weights:
    return Weights(task_share, {name: float(name in losses) for name in DISTILLED}, 2.0)


def four(model: Model) -> list:
    return [model.family.probe(model.net, 0)] * 4


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("whisper", weights(0.0, "affinity"), "has nothing that affinity could compare"),
        ("llama", weights(0.0, "affinity", "relational"), "has nothing that affinity, relational could compare"),
        ("vit", weights(1.0, "logits"), "hold no words or labels that .* is to say"),
        ("bert", weights(1.0, "logits"), "hold no words or labels that .* is to say"),
    ],
)
def test_losses_that_say_nothing_of_a_model_are_refused(name, given, said, fresh):
    model = fresh(name)
    with pytest.raises(RecipeError, match=f"there is nothing to learn: .*{said}"):
        check_losses(model, model.towers, given, four(model))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("whisper", weights(0.1, "affinity")),
        ("clip", weights(0.0, "affinity")),
        ("clip", weights(1.0)),
        ("seedling", weights(0.0, "relational")),
        ("vit", weights(0.1, "logits")),
        ("bert", weights(0.0, "features")),
        ("minilm", weights(0.0, "features")),
        ("mpnet", weights(0.0, "relational")),
    ],
)
def test_losses_that_say_something_are_not(name, given, fresh):
    model = fresh(name)
    check_losses(model, model.towers, given, four(model))
    assert torch.is_grad_enabled()


def test_labels_beside_the_inputs_are_something_to_say(fresh):
    model = fresh("vit")
    items = [{**item, "labels": torch.tensor([1])} for item in four(model)]
    check_losses(model, model.towers, weights(1.0), items)
    assert len(items) == 4


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    check_shares(12)
    with pytest.raises(RecipeError, match="a batch of 16 items cannot be shared by 3 processes") as caught:
        check_shares(16)
    assert "that 3 divides" in caught.value.hint


def test_how_long_a_model_hears_is_in_its_settings(fresh):
    assert heard_s(fresh("whisper").settings) == 30.0
    assert heard_s(fresh("llama").settings) == 0.0
    assert heard_s({"audio": {"longest_s": 12.0}}) == 12.0
    assert heard_s({"audio": {"max_length_s": 10}}) == 10.0
    assert heard_s({"audio": None}) == 0.0
