"""Every kind of unusable checkpoint: one line that names what is wrong, a hint, exit code 2, and nothing random."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from penjing.errors import ModelError
from penjing.models.open import open_model

Breaks = Callable[[Path], None]


def config(**changes) -> Breaks:
    """Change keys of config.json; None takes one out."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        found = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))

    return change


def weights(edit: Callable[[dict[str, torch.Tensor]], None]) -> Breaks:
    """Change the tensors of the file."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return change


def content(edit: Callable[[bytes], bytes]) -> Breaks:
    """Change the bytes of the file."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(edit(path.read_bytes()))

    return change


def rename(name: str) -> Breaks:
    return lambda folder: (folder / "model.safetensors").rename(folder / name) and None


def as_peft_saves_it(folder: Path) -> None:
    """A folder of LoRA: the adapter and what it is for, and no config.json."""
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "config.json").unlink()
    about = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(about))


DENSE = "bert.encoder.layer.1.output.dense.weight"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
BAD: dict[str, tuple[Breaks, str, str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing", "copy it"),
    "config is no JSON": (lambda folder: (folder / "config.json").write_text("{") and None, "not valid JSON", "again"),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "model.safetensors is missing",
        "beside config.json",
    ),
    "pickle": (rename("pytorch_model.bin"), r"only pickled weights \(pytorch_model.bin\)", "save_pretrained"),
    "pickle .pt": (rename("model.pt"), r"only pickled weights \(model.pt\)", "convert it"),
    "pickle .ckpt": (rename("last.ckpt"), r"only pickled weights \(last.ckpt\)", "convert it"),
    "another name": (rename("weights.safetensors"), "model.safetensors is missing", "rename weights.safetensors"),
    "adapter": (rename("adapter_model.safetensors"), "adapter without its model", "merge"),
    "LoRA": (as_peft_saves_it, "an adapter of org/base without its model", "merge_and_unload"),
    "truncated": (content(lambda data: data[:-64]), "truncated", "again"),
    "cut in the header": (content(lambda data: data[:100]), "truncated", "again"),
    "empty file": (content(lambda data: b""), "truncated", "again"),
    "damaged header": (content(lambda data: data[:8] + b"x" * 40 + data[48:]), "header is damaged", "again"),
    "LFS pointer": (content(lambda data: POINTER), "Git LFS pointer", "git lfs pull"),
    "NaN": (weights(lambda tensors: tensors[DENSE][0, 0].fill_(float("nan"))), f"{DENSE} holds NaN", "damaged"),
    "infinite": (
        weights(lambda tensors: tensors[DENSE][1].fill_(float("-inf"))),
        rf"{DENSE} holds infinite values \(64 of 2048\)",
        "damaged",
    ),
    "lost tensor": (weights(lambda tensors: tensors.pop(DENSE)), f"not in the file: {DENSE}", "random"),
    "other tensor": (
        weights(lambda tensors: tensors.update(other=tensors.pop(DENSE))),
        f"not in the file: {DENSE}",
        "the file has other instead",
    ),
    "other shape": (config(intermediate_size=48), r"\(64,\) in the file, .* wants \(48,\)", "different models"),
    "more layers": (config(num_hidden_layers=3), r"16 weights .* are not in the file: bert.encoder.layer.2", "random"),
    "unknown architecture": (
        config(architectures=["BertForSequenceClasification"]),
        "knows no architecture 'BertForSequenceClasification'",
        "did you mean 'BertForSequenceClassification'?",
    ),
    "unknown model type": (
        config(model_type="berd", architectures=None),
        "knows no model_type 'berd'",
        "did you mean 'bert'?",
    ),
    "both unknown": (config(model_type="qqqqqqqq", architectures=["Qqqqqqqq"]), "qqqqqqqq", "documentation"),
    "not said": (config(model_type=None, architectures=None), "no model_type None", "should have"),
    "not a model": (config(architectures=["BertConfig"]), "knows no architecture 'BertConfig'", "did you mean"),
    "not even a name": (config(architectures=[3]), r"architectures in config.json is \[3\]", "class names"),
    "no list of names": (config(architectures="BertModel"), "is 'BertModel'", "list of class names"),
    "code of its own": (
        config(architectures=["MyModel"], auto_map={"AutoModel": "mine.MyModel"}),
        "knows no architecture 'MyModel'",
        "never runs",
    ),
    "already quantized": (config(quantization_config={"quant_method": "gptq"}), "already compressed", "float"),
    "impossible sizes": (config(num_attention_heads=5), "hidden size", "config.json"),
    "wrong type": (config(hidden_size="wide"), "hidden_size", "config.json"),
}


def check_error(error: ModelError, message: str, hint: str) -> None:
    import re

    assert error.exit_code == 2
    assert re.search(message, error.message), error.message
    assert re.search(re.escape(hint), error.hint), error.hint
    assert "\n" not in error.message + error.hint


@pytest.mark.parametrize("case", list(BAD))
def test_a_bad_checkpoint_is_refused_in_one_line(folder_of, tmp_path, case, capfd):
    damage, message, hint = BAD[case]
    folder = tmp_path / "model"
    shutil.copytree(folder_of("bert"), folder)
    damage(folder)
    before = sorted(folder.rglob("*"))
    capfd.readouterr()
    with pytest.raises(ModelError) as caught:
        open_model(str(folder))
    check_error(caught.value, message, hint)
    assert sorted(folder.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


def test_a_missing_folder(tmp_path):
    with pytest.raises(ModelError) as caught:
        open_model(str(tmp_path / "nowhere"))
    check_error(caught.value, "no such model folder", "hub id")


def test_an_empty_folder(tmp_path):
    with pytest.raises(ModelError) as caught:
        open_model(str(tmp_path))
    check_error(caught.value, "folder is empty", "config.json")


def test_a_file_in_place_of_a_folder(folder_of):
    with pytest.raises(ModelError) as caught:
        open_model(str(folder_of("bert") / "model.safetensors"))
    check_error(caught.value, "is a file", "folder that holds config.json")


def test_the_folder_above(folder_of, tmp_path):
    shutil.copytree(folder_of("bert"), tmp_path / "inner")
    with pytest.raises(ModelError) as caught:
        open_model(str(tmp_path))
    check_error(caught.value, "config.json is missing", "inner?")


def test_a_missing_shard(opened, tmp_path):
    opened("bert").net.save_pretrained(tmp_path, max_shard_size="30KB")
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    with pytest.raises(ModelError) as caught:
        open_model(str(tmp_path))
    check_error(caught.value, f"shard {shards[1].name} is missing", "again")


def test_a_pickle_is_never_read(folder_of, tmp_path):
    """Not even when it lies beside good weights: here it would blow up."""
    folder = tmp_path / "model"
    shutil.copytree(folder_of("bert"), folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert open_model(str(folder)).family.name == "classifier"


def test_masks_of_pretraining_may_be_missing_and_become_zero(folder_of, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(folder_of("wav2vec2_ctc"), folder)
    weights(lambda tensors: tensors.pop("wav2vec2.masked_spec_embed"))(folder)
    net = open_model(str(folder)).net
    assert torch.count_nonzero(net.wav2vec2.masked_spec_embed) == 0


def test_tensors_without_a_place_are_listed(folder_of, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(folder_of("bert"), folder)
    weights(lambda tensors: tensors.update(spare=torch.ones(2)))(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = open_model(str(folder))
    assert model.source["unused_weights"] == ["spare"]
