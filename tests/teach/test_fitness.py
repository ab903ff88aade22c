"""A teacher must mean the same by its labels and its word pieces."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from penjing.errors import RecipeError
from penjing.models.open import open_model
from penjing.teach.fitness import check_teacher
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
