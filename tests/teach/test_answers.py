"""Items that go through a model together answer as they do one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from penjing.calibrate.proxy import verdicts
from penjing.errors import DataError
from penjing.models.family import Model
from penjing.teach.answers import SPOKEN, Answers
from penjing.teach.joining import firsts, grouped, joined, kind_of, shape_of, spread
from penjing.teach.teacher import weights_key

MODELS = ("seedling", "whisper", "clip", "llama", "vit", "minilm")


def items_of(model: Model, count: int = 6) -> list:
    """Probes, whose words are of different lengths."""
    items = []
    for seed in range(count):
        item = dict(model.family.probe(model.net, seed))
        key = "decoder_input_ids" if "decoder_input_ids" in item else "input_ids"
        if key in item and seed % 2:
            item[key] = item[key][:, :-2]
            if "attention_mask" in item:
                item["attention_mask"] = item["attention_mask"][:, :-2]
        items.append(item)
    return items


def all_layers(model: Model) -> dict[str, range]:
    return {tower.name: range(len(tower.blocks)) for tower in model.towers if tower.blocks}


@pytest.mark.parametrize("name", MODELS)
def test_together_is_as_one_by_one(name, fresh):
    model = fresh(name)
    items = items_of(model)
    with torch.no_grad():
        asked = Answers(model, items, all_layers(model), True)
        assert asked.runs
        assert all(run.together for run in asked.runs), [(run.name, run.together) for run in asked.runs]
        together = asked.ask(items)
        apart = [asked.ask([item])[0] for item in items]
    for one, other in zip(together, apart, strict=True):
        assert one.embeddings.keys() == other.embeddings.keys()
        assert one.hidden.keys() == other.hidden.keys()
        pairs = [(one.hidden[key], other.hidden[key]) for key in one.hidden]
        pairs += [(one.embeddings[key], other.embeddings[key]) for key in one.embeddings]
        if one.logits is not None:
            pairs.append((one.logits, other.logits))
        for left, right in pairs:
            assert left.shape == right.shape
            assert torch.allclose(left, right, rtol=1e-3, atol=1e-4)
    assert together[0].hidden


@pytest.mark.parametrize("name", ["seedling", "whisper", "llama"])
def test_words_are_what_the_proxy_hears(name, fresh):
    model = fresh(name)
    items = items_of(model, 2)
    with torch.no_grad():
        asked = Answers(model, items, {}, False)
        assert [run.name for run in asked.runs] == [SPOKEN]
        for item, answer in zip(items, asked.ask(items), strict=True):
            said = [one for one in verdicts(model, [item]) if one.targets is not None and len(one.targets) > 1]
            assert torch.allclose(answer.logits[:-1], said[-1].logits, atol=1e-4)


def test_words_of_different_lengths_go_together(fresh):
    """Behind a causal decoder's words zeros change nothing; how many runs there are is counted."""
    model = fresh("whisper")
    asked = Answers(model, items_of(model), {}, False)
    runs = []
    call = asked.runs[0].call
    asked.runs[0].call = lambda batch: runs.append(len(batch["decoder_input_ids"])) or call(batch)
    with torch.no_grad():
        asked.ask(items_of(model))
    assert runs == [6]


def test_what_cannot_be_padded_is_not(fresh):
    """Where a later word changes what an earlier one is answered, only words of one length go together."""
    model = fresh("whisper")
    items = items_of(model)

    class Backwards:
        towers = ()

    def spoken(batch):
        ids = batch["decoder_input_ids"].float()
        return (ids + ids.shape[1] + ids.sum(1, keepdim=True))[..., None].expand(-1, -1, 5)

    from penjing.teach.answers import Run

    asked = Answers(model, items, {}, False)
    run = Run(SPOKEN, spoken, ())
    run.together = run.pads = asked._agree(run, items)
    assert not run.pads
    run.together = asked._agree(run, items)
    assert run.together


def test_joining():
    one = {"a": torch.ones(1, 3), "flags": torch.tensor([True, False])}
    two = {"a": torch.zeros(1, 5), "flags": torch.tensor([True, False])}
    padded = frozenset({"a"})
    assert shape_of(one, ["a", "flags"]) != shape_of(two, ["a", "flags"])
    assert shape_of(one, ["a", "flags"], padded) == shape_of(two, ["a", "flags"], padded)
    both = joined([one, two], ["a", "flags"], padded)
    assert both["a"].tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert both["flags"].tolist() == [True, False]
    assert kind_of(one) == kind_of(two)
    assert kind_of(one) != kind_of({**one, "flags": torch.tensor([True, True])})
    assert grouped(["x", "y", "x"]) == [[0, 2], [1]]


def test_the_key_of_weights_changes_with_any_of_them(fresh):
    model = fresh("clip")
    before = weights_key(model)
    assert weights_key(fresh("clip")) == before
    next(model.net.parameters()).data.view(-1)[0] += 1e-3
    assert weights_key(model) != before


def test_a_tower_whose_input_the_first_item_lacks_is_asked_for_the_others(fresh):
    model = fresh("clip")
    whole = [model.family.probe(model.net, seed) for seed in range(3)]
    items = [{"pixel_values": whole[0]["pixel_values"]}, *whole[1:]]
    with torch.no_grad():
        asked = Answers(model, items, all_layers(model), True)
        answers = asked.ask(items)
        alone = [asked.ask([item])[0] for item in items]
    towers = [tower.name for tower in model.towers if tower.blocks]
    assert {*asked.embedded} == {*towers}
    image = next(tower.name for tower in model.towers if tower.modality == "image")
    assert [*answers[0].embeddings] == [image]
    for answer, other in zip(answers, alone, strict=True):
        assert answer.embeddings.keys() == other.embeddings.keys()
        assert answer.hidden.keys() == other.hidden.keys()
    assert {*answers[1].embeddings} == {*towers}


def test_a_tower_that_fails_on_an_item_that_has_everything_is_no_missing_input(fresh):
    model = fresh("clip")
    item = dict(model.family.probe(model.net, 0))
    item["pixel_values"] = torch.nn.functional.pad(item["pixel_values"], (0, 16, 0, 16))
    with pytest.raises(ValueError, match="doesn't match model"):
        Answers(model, [item], {}, True)


@pytest.mark.parametrize(
    ("pooling", "of"), [("mean", lambda hidden: hidden.mean(0)), ("cls", lambda hidden: hidden[0])]
)
def test_an_encoder_of_texts_answers_as_its_vectors_are_made(pooling, of, fresh):
    model = fresh("minilm")
    model = replace(model, settings={**model.settings, "pooling": pooling})
    (item, *_) = items_of(model)
    (answer,) = Answers(model, [item], {}, True).ask([item])
    hidden = model.net(**item).last_hidden_state[0]
    assert torch.allclose(answer.embeddings["text"], of(hidden), atol=1e-5)


def test_a_model_that_answers_nothing_is_refused(fresh):
    model = fresh("clip")
    with pytest.raises(DataError, match="answers nothing to these data"):
        Answers(model, [{"attention_mask": torch.ones(1, 4)}], {}, True)


def test_a_sample_has_every_sort_of_item_and_labels_make_none():
    plain = [{"a": torch.ones(1, 2), "labels": torch.tensor([place])} for place in range(40)]
    flagged = {**plain[0], "fused": torch.tensor([True, False])}
    items = [*plain[:7], {"b": torch.ones(1, 2)}, *plain[7:], flagged, {**flagged, "fused": torch.tensor([True, True])}]
    assert firsts(items) == [0, 7, 41, 42]
    sample = spread(items, 4)
    assert len(sample) == 8
    assert all(any(one is items[place] for one in sample) for place in (0, 7, 41, 42))
