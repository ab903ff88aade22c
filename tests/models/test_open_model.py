"""Opening: float32, eval, the weights of the file, the right family, an identity for the manifest, and no noise."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from penjing.models.network import architecture_of, blank_network, quiet
from penjing.models.open import model_of, open_model
from penjing.models.registry import FAMILIES, family_of
from tiny_models import TINY

FAMILY_OF = {
    "whisper": "whisper",
    "clip": "dual-encoder",
    "siglip": "dual-encoder",
    "clap": "dual-encoder",
    "vision_text": "dual-encoder",
    "seedling": "seedling",
    **dict.fromkeys(("llama", "llama_grouped", "llama_tied", "qwen2", "gpt2", "opt"), "causal-lm"),
    **dict.fromkeys(("minilm", "roberta_bare", "distilbert_bare", "mpnet"), "encoder"),
    **dict.fromkeys(("bert", "distilbert", "vit", "resnet", "efficientnet", "swin", "convnext"), "classifier"),
    **dict.fromkeys(("llava", "smolvlm"), "vision-language"),
    "blip": "blip",
}


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_architecture_opens(opened, folder_of, name):
    model = opened(name)
    assert model.family.name == FAMILY_OF.get(name, "generic")
    assert not model.net.training
    assert {parameter.dtype for parameter in model.net.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in model.net.parameters())
    assert model.folder == folder_of(name)
    assert model.source["unused_weights"] == []


@pytest.mark.parametrize("name", ["bert", "gpt2", "llava", "t5_untied"])
def test_the_weights_are_those_of_the_file(opened, folder_of, name):
    stored = sorted(float(tensor.sum()) for tensor in load_file(folder_of(name) / "model.safetensors").values())
    loaded = sorted(float(parameter.sum()) for parameter in opened(name).net.parameters())
    assert stored == pytest.approx(loaded, rel=1e-5, abs=1e-6)


def test_attention_is_fused_where_the_architecture_has_it(opened):
    assert opened("clip").net.vision_model.config._attn_implementation == "sdpa"
    assert opened("blip").net.config._attn_implementation == "eager"


def test_source_is_the_identity_of_the_checkpoint(opened, folder_of):
    model = opened("bert")
    data = (folder_of("bert") / "model.safetensors").read_bytes()
    assert dict(model.source) == {
        "id": "bert",
        "revision": None,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "parameters": sum(parameter.numel() for parameter in model.net.parameters()),
        "unused_weights": [],
    }


def test_half_precision_files_open_in_float32(folder_of, tmp_path):
    shutil.copytree(folder_of("llama"), tmp_path / "half")
    path = tmp_path / "half" / "model.safetensors"
    save_file({key: tensor.bfloat16() for key, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    model = open_model(str(tmp_path / "half"))
    assert {parameter.dtype for parameter in model.net.parameters()} == {torch.float32}
    assert model.source["size_bytes"] < 4 * model.source["parameters"]


def test_sharded_checkpoints_open(opened, tmp_path):
    opened("bert").net.save_pretrained(tmp_path, max_shard_size="30KB")
    model = open_model(str(tmp_path))
    assert model.source["parameters"] == opened("bert").source["parameters"]
    assert model.source["size_bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))


def test_without_architectures_the_base_model_is_taken(folder_of, tmp_path):
    shutil.copytree(folder_of("vit"), tmp_path / "vit")
    path = tmp_path / "vit" / "config.json"
    found = json.loads(path.read_text())
    del found["architectures"]
    path.write_text(json.dumps(found))
    assert architecture_of(tmp_path / "vit").__name__ == "ViTModel"


def test_without_model_type_the_architecture_is_enough(folder_of, tmp_path):
    shutil.copytree(folder_of("vit"), tmp_path / "vit")
    path = tmp_path / "vit" / "config.json"
    found = json.loads(path.read_text())
    del found["model_type"]
    path.write_text(json.dumps(found))
    assert type(open_model(str(tmp_path / "vit")).net).__name__ == "ViTForImageClassification"


@pytest.mark.parametrize("name", ["gpt2", "clip", "t5", "resnet"])
def test_a_blank_network_has_the_places_of_the_real_one(opened, folder_of, name):
    blank, net = blank_network(folder_of(name)), opened(name).net
    assert not blank.training
    assert {key: tensor.shape for key, tensor in blank.state_dict().items()} == {
        key: tensor.shape for key, tensor in net.state_dict().items()
    }
    towers = model_of(blank, name, folder_of(name), {}).towers
    assert [tower.name for tower in towers] == [tower.name for tower in opened(name).towers]


def test_opening_prints_nothing_and_warns_of_nothing(folder_of, capfd):
    folder = folder_of("llava")
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_model(str(folder))
    assert capfd.readouterr() == ("", "")


def test_quiet_gives_back_what_it_took():
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with pytest.raises(ZeroDivisionError), quiet():
        assert not 1 / 0
    with quiet():
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_the_generic_family_is_asked_last(opened):
    assert [family.name for family in FAMILIES][-1] == "generic"
    assert family_of(opened("bert_masked").config).name == "generic"
    assert family_of(opened("whisper").config).name == "whisper"


def test_the_room_does_not_load_transformers_on_import():
    """Importing must stay cheap: the classes of transformers are loaded when a checkpoint asks for them."""
    script = (
        "import sys, penjing.models.open, penjing.models.profile; "
        "print('transformers' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False False"
