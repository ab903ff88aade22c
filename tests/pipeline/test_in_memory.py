"""What a program holds in memory: Hugging Face modules exported, models and data sets compressed, mistakes told."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

import penjing
from penjing.errors import ArtifactError, DataError, EngineError, ModelError, PenjingError, RecipeError
from penjing.runtimes.engine import choose_engine
from tiny_encoders import save_encoder

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
RTN = [{"method": "rtn", "bits": 8}]
IDS = torch.arange(14).view(2, 7)


class Scaled(nn.Module):
    """A linear layer whose scale is keyword-only, behind a parameter that is left away, before `**kwargs`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(32, 64), nn.Linear(64, 8)

    def forward(self, values: Tensor, bias: Tensor | None = None, *, scale: Tensor, **kwargs: object) -> Tensor:
        hidden: Tensor = self.second(torch.relu(self.first(values))) * scale
        return hidden if bias is None else hidden + bias


def bert() -> nn.Module:
    return BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=3, **SIZES))


def vit() -> nn.Module:
    return ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, **SIZES))


def llama() -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(vocab_size=50, num_key_value_heads=2, **SIZES))


CASES = {
    "scale by name": (Scaled, {"scale": torch.tensor([[2.0], [3.0]]), "values": torch.ones(2, 32)}, "output"),
    "bert": (bert, {"input_ids": IDS, "attention_mask": (IDS < 12).long()}, "logits"),
    "bert, types": (bert, {"token_type_ids": IDS % 2, "input_ids": IDS}, "logits"),
    "vit": (vit, {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)}, "logits"),
    "llama": (llama, {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}, "logits"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_forward_that_ends_in_kwargs_is_exported(case, tmp_path):
    make, batch, output = CASES[case]
    torch.manual_seed(0)
    compressed = penjing.compress(make().eval(), RTN, batches=[batch])
    graph = choose_engine("onnxruntime", 1, cache=False, exact=True).open(compressed.export(tmp_path))
    answer = graph({name: value.numpy() for name, value in batch.items()})
    assert list(answer) == [output]
    with torch.no_grad():
        expected = compressed.module(**batch)
    expected = expected if isinstance(expected, Tensor) else expected.logits
    np.testing.assert_allclose(answer[output], expected.numpy(), rtol=2e-2, atol=2e-3)


def test_what_cannot_be_traced_is_one_line(tmp_path):
    class Looping(Scaled):
        def forward(self, values: Tensor) -> Tensor:
            while values.sum() > 1:
                values = values / 2
            return self.first(values)

    compressed = penjing.compress(Looping(), RTN, batches=[torch.ones(2, 32)])
    with pytest.raises(ModelError, match="Looping cannot be exported to ONNX: "):
        compressed.export(tmp_path)


def test_a_pretrained_model_is_compressed_as_its_folder_is(tmp_path):
    folder = save_encoder(tmp_path / "bert")
    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight[0] = 0  # what is in memory counts, not what is on the disk
    of_folder = penjing.compress(folder, tmp_path / "a", recipe=["rtn"])
    of_model = penjing.compress(model, tmp_path / "b", recipe=[{"method": "rtn"}])
    assert of_model["published"]
    assert of_model["towers"][0]["name"] == of_folder["towers"][0]["name"]
    assert (tmp_path / "b" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert (tmp_path / "b" / "onnx" / "model.onnx").read_bytes() != (
        tmp_path / "a" / "onnx" / "model.onnx"
    ).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "bert"]
    assert penjing.inspect(model)["parameters"] == penjing.inspect(folder)["parameters"]


def test_a_dataset_in_memory_calibrates(tmp_path):
    folder = save_encoder(tmp_path / "bert")
    rows = datasets.Dataset.from_list([{"text": f"sentence number {n}"} for n in range(12)])
    step = [{"method": "gptq", "bits": 8}]
    found = penjing.compress(folder, tmp_path / "a", recipe=step, calibration=rows, goals="size_bytes<=90%")
    assert found["published"]
    with pytest.raises(DataError, match="of the splits train"):
        penjing.compress(folder, tmp_path / "b", recipe=step, data=datasets.DatasetDict({"train": rows}))
    with pytest.raises(DataError, match="data is a list"):
        penjing.evaluate(folder, [{"text": "a"}])


@pytest.mark.parametrize("recipe", ["file", ["rtn"], {"method": "rtn"}, {"steps": ["rtn"], "seed": 3}])
def test_a_recipe_in_every_form(recipe, tmp_path):
    if recipe == "file":
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("{version: 1, steps: [{method: rtn}]}")
    compressed = penjing.compress(Scaled(), recipe, batches=[CASES["scale by name"][1]])
    assert {note.method for note in compressed.notes} == {"rtn"}


BATCH = {"values": torch.ones(2, 32), "scale": torch.ones(2, 1)}
MISTAKES = {
    "no recipe": ((None,), {"batches": [BATCH]}, RecipeError, "no recipe named"),
    "neither": ((), {}, RecipeError, "neither batches nor a folder"),
    "no batches": ((RTN,), {}, RecipeError, "neither batches nor a folder"),
    "a metric alone": ((RTN,), {"metric": len}, DataError, "no batches"),
    "a bare module and out": (("out",), {}, ModelError, "compress takes no Scaled"),
    "number as recipe": ((5,), {"batches": [BATCH]}, RecipeError, "a recipe is no int"),
    "number as step": (([5],), {"batches": [BATCH]}, RecipeError, "names no method"),
    "method as recipe": (("rtn",), {"batches": [BATCH]}, RecipeError, "no recipe called 'rtn'"),
    "a tensor": ((RTN,), {"batches": torch.ones(4, 2, 32)}, DataError, r"one tensor \(4, 2, 32\), not a list"),
    "a mapping": ((RTN,), {"batches": BATCH}, DataError, "a dict, not a list"),
    "a number": ((RTN,), {"batches": 3}, DataError, "a int, not a list"),
    "numbers": ((RTN,), {"batches": [1, 2]}, DataError, "a batch is a int"),
    "an unknown name": ((RTN,), {"batches": [{"value": BATCH["values"]}]}, DataError, "cannot be called"),
    "a wrong shape": ((RTN,), {"batches": [{**BATCH, "values": torch.ones(2, 31)}]}, DataError, "cannot be called"),
    "metric as text": ((RTN,), {"batches": [BATCH], "metric": "acc"}, RecipeError, "metric is a str"),
    "metric of many": ((RTN,), {"batches": [BATCH], "metric": lambda net: torch.ones(3)}, DataError, "not a number"),
    "data beside batches": ((RTN,), {"batches": [BATCH], "data": "text"}, RecipeError, "data has no effect"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_a_hint(mistake):
    given, options, error, said = MISTAKES[mistake]
    with pytest.raises(error, match=said) as raised:
        penjing.compress(Scaled(), *given, **options)
    assert raised.value.exit_code == 2
    assert raised.value.hint
    assert "\n" not in raised.value.message


def test_the_other_functions_take_no_raw_objects(tmp_path):
    folder = save_encoder(tmp_path / "bert")
    calls = [
        (lambda: penjing.inspect(Scaled()), ModelError),
        (lambda: penjing.evaluate(Scaled(), "text"), ModelError),
        (lambda: penjing.load(None), ArtifactError),  # type: ignore[arg-type]
        (lambda: penjing.compress(folder, tmp_path / "out", threads="2"), EngineError),  # type: ignore[arg-type]
        (lambda: penjing.compress("name", batches=[BATCH]), DataError),
    ]
    for call, error in calls:
        with pytest.raises(error) as raised:
            call()
        assert isinstance(raised.value, PenjingError)
        assert raised.value.exit_code == 2
