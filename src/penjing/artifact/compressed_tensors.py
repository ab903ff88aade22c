"""A compressed network as the compressed-tensors package stores it: plain `from_pretrained` opens it without penjing.

Codes become `weight_packed`, 32-bit words without gaps, or an int8 `weight`, a byte a code; `forms` decides which, and
`config.json` says it of every layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penjing.artifact.forms import CODE_BITS, LAYOUT, PACKED, Coded, Forms, coded_layers
from penjing.bounded_json import read_object
from penjing.layers.dynamic import DynamicLinear
from penjing.layers.static import StaticLinear
from penjing.layers.weight_only import IntEmbedding, IntTable
from penjing.tensor.grid import TOP, Codes
from penjing.tensor.pack import pack_words, unpack_slots, unpack_words

PARTS = (
    "weight",
    "weight_packed",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "input_scale",
    "input_zero_point",
)
"""Names of tensors that stand for one layer of codes; a bias is stored as it always is."""


def store(net: nn.Module, tensors: dict[str, Tensor], forms: Forms) -> None:
    """Replace the tensors of every layer of codes by those that compressed-tensors reads.

    Codes with two readers stand in the file once, at the one that transformers ties the others to; scales at each.
    """
    written: set[int] = set()
    layers = dict(coded_layers(net))
    for name, form in forms.items():
        module = layers[name]
        for own in [key for key in tensors if key.startswith(f"{name}.") and key != f"{name}.bias"]:
            del tensors[own]
        if isinstance(module, StaticLinear):
            parts = _static_parts(module)
        else:
            parts = _packed_parts(module.table) if form == PACKED else _byte_parts(module.table)
            if id(module.table) in written:
                del parts["weight"]
            written.add(id(module.table))
        tensors.update({f"{name}.{part}": tensor for part, tensor in parts.items()})


def restore(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Undo `store`: the tensors become those of our layers, bit for bit."""
    for name, module in coded_layers(net):
        found = {part: tensors.pop(f"{name}.{part}") for part in PARTS if f"{name}.{part}" in tensors}
        if isinstance(module, StaticLinear):
            _fill_static(module, found)
            own: Mapping[str, Tensor] = module.state_dict()
        elif "weight" in found or "weight_packed" in found:
            _fill_table(module.table, found)
            own = {f"table.{key}": tensor for key, tensor in module.table.state_dict().items()}
        else:  # its codes stand at another reader of the table
            continue
        tensors.update({f"{name}.{key}": tensor for key, tensor in own.items() if key != "bias"})


def _packed_parts(table: IntTable) -> dict[str, Tensor]:
    """Codes in words, one scale per row or group; zero is in the middle."""
    return {
        "weight_packed": pack_words(_codes(table), table.bits),
        "weight_scale": _per_group(table, table.scales),
        "weight_shape": torch.tensor([table.rows, table.width]),
    }


def _byte_parts(table: IntTable) -> dict[str, Tensor]:
    """Codes and zero points in signed bytes."""
    half = 2 ** (table.bits - 1)
    parts = {
        "weight": (_codes(table).to(torch.int16) - half).to(torch.int8),
        "weight_scale": _per_group(table, table.scales),
    }
    if not table.symmetric:
        parts["weight_zero_point"] = (_per_group(table, table.zero_points()) - half).to(torch.int8)
    return parts


def _codes(table: IntTable) -> Tensor:
    """Unsigned codes (rows, width), without the padding of the engines' blocks."""
    return (unpack_slots(table.packed, table.slot_bits) - table.shift).flatten(1)[:, : table.width]


def _per_group(table: IntTable, values: Tensor) -> Tensor:
    """Scales or zero points without the repetition that makes blocks of a channel: (rows, groups), a copy."""
    return values[:, : values.shape[1] if table.group else 1].clone()


def _fill_table(table: IntTable, parts: Mapping[str, Tensor]) -> None:
    """Undo `_packed_parts` or `_byte_parts`."""
    half, scales = 2 ** (table.bits - 1), parts["weight_scale"]
    if "weight_packed" in parts:
        codes = unpack_words(parts["weight_packed"], table.bits, table.width)
    else:
        codes = (parts["weight"].to(torch.int16) + half).to(torch.uint8)
    zeros = torch.full_like(scales, half) + parts.get("weight_zero_point", torch.zeros(1))
    table.store(Codes(codes.reshape(table.rows, scales.shape[1], -1), scales, zeros))


def _static_parts(module: StaticLinear) -> dict[str, Tensor]:
    """Weights as signed bytes (out, in); a static input's zero point moves from unsigned codes to signed ones."""
    weights = {"weight": module.codes.T.contiguous(), "weight_scale": module.scales[:, None].clone()}
    if isinstance(module, DynamicLinear):
        return weights
    zero = module.input.zero.to(torch.int16) - (module.input.top + 1) // 2
    return {
        **weights,
        "input_scale": module.input.scale.reshape(1).clone(),
        "input_zero_point": zero.to(torch.int8).reshape(1),
    }


def _fill_static(module: StaticLinear, parts: Mapping[str, Tensor]) -> None:
    """Undo `_static_parts`."""
    module.codes.copy_(parts["weight"].T)
    module.scales.copy_(parts["weight_scale"][:, 0])
    if isinstance(module, DynamicLinear):
        return
    module.input.scale.copy_(parts["input_scale"][0])
    zero = parts["input_zero_point"][0].to(torch.int16) + (module.input.top + 1) // 2
    module.input.zero.copy_(zero.to(torch.uint8))


def write_config(net: nn.Module, folder: Path, forms: Forms) -> None:
    """Add to the copied config.json what a reader needs: how layers are quantized, and float32 for everything else."""
    path = folder / "config.json"
    document = read_object(path)
    for part in (document, *(value for value in document.values() if isinstance(value, dict))):
        if part is document or "model_type" in part:
            part.pop("torch_dtype", None)
            part["dtype"] = "float32"
    if forms:
        document["quantization_config"] = quantization_config(net, forms)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf8")


def quantization_config(net: nn.Module, forms: Forms) -> dict[str, Any]:
    """The entry of config.json: layers of one scheme make a group, the largest of them is all that is `Linear`.

    It comes last: readers take the first target that fits, and a name fits better than a class.
    """
    groups: dict[str, list[str]] = {}
    linear: dict[str, int] = {}
    for name, module in coded_layers(net):
        key = json.dumps(_scheme(module, forms[name]), sort_keys=True)
        groups.setdefault(key, []).append(name)
        linear[key] = linear.get(key, 0) + (not isinstance(module, IntEmbedding))
    largest = max(linear, key=linear.__getitem__)
    targets = groups.pop(largest)
    if linear[largest]:
        targets = [*(name for name in targets if isinstance(net.get_submodule(name), IntEmbedding)), "Linear"]
    groups[largest] = targets
    used = sorted(set(forms.values()))
    return {
        "quant_method": LAYOUT,
        "format": used[0] if len(used) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "config_groups": {
            f"group_{place}": {"targets": names, **json.loads(key)} for place, (key, names) in enumerate(groups.items())
        },
        "ignore": [name for name, module in net.named_modules() if isinstance(module, nn.Linear)],
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
    }


def _scheme(module: Coded, form: str) -> dict[str, Any]:
    """How one layer is quantized, in the words of compressed-tensors."""
    scheme: dict[str, Any] = {"format": form, "input_activations": None, "output_activations": None}
    if isinstance(module, StaticLinear):
        bits = CODE_BITS if module.input.top == TOP else CODE_BITS - 1
        scheme["weights"] = _arguments(CODE_BITS, symmetric=True, strategy="channel")
        if isinstance(module, DynamicLinear):
            scheme["input_activations"] = {**_arguments(bits, symmetric=True, strategy="token"), "dynamic": True}
        else:
            scheme["input_activations"] = _arguments(bits, symmetric=False, strategy="tensor")
        return scheme
    table = module.table
    scheme["weights"] = _arguments(
        table.bits, symmetric=table.symmetric, strategy="group" if table.group else "channel"
    )
    scheme["weights"]["group_size"] = table.group or None
    return scheme


def _arguments(bits: int, *, symmetric: bool, strategy: str) -> dict[str, Any]:
    return {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": strategy, "dynamic": False}
