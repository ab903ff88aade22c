"""The parts a transformers model was put together from: found through its configs and its modules, never by its name.

In this order: the two sides of an encoder-decoder (`get_encoder`, `get_decoder`), the submodules that belong to the
configs in `config.sub_configs`, and where there is neither, the one base model under the heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

CHAIN_NAMES = ("Layer", "Block", "Stage")


@dataclass(frozen=True, eq=False, slots=True)
class Trunk:
    """A part of a model: path, module, what the config calls it (`vision`, `encoder`; empty if it is alone), layers."""

    path: str
    module: nn.Module
    key: str
    blocks: tuple[nn.Module, ...]


def find_trunks(net: nn.Module) -> list[Trunk]:
    """Find the parts in module order. A part inside another part is carved out of it."""
    keys = {id(module): key for key, module in _expand(net, "") if module is not net}
    parts = [(path, module) for path, module in net.named_modules() if id(module) in keys]
    found = []
    for path, module in parts:
        blocks = find_blocks(module, [other for _, other in parts if other is not module])
        if blocks:
            found.append(Trunk(path, module, keys[id(module)], blocks))
    if found:
        return found
    base = _innermost(getattr(net, "base_model", net))
    path = next(path for path, module in net.named_modules() if module is base)
    return [Trunk(path, base, "", find_blocks(base))]


def _innermost(base: nn.Module) -> nn.Module:
    """Step through wrappers that hold one model and nothing else, which heads may call past (OPT)."""
    children = [child for child in base.children() if count_parameters(child)]
    bare = any(True for _ in base.parameters(recurse=False))
    if len(children) == 1 and hasattr(children[0], "base_model") and not bare:
        return _innermost(children[0])
    return base


def _expand(module: nn.Module, key: str) -> Iterator[tuple[str, nn.Module]]:
    """Split a module until its parts have no parts; yield what the configs call them."""
    parts = list(_parts(module))
    if not parts:
        yield key, module
    for name, part in parts:
        yield from _expand(part, name)


def _parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the two sides of an encoder-decoder, then what belongs to the sub-configs."""
    config: Any = getattr(module, "config", None)
    seen = {id(module), id(getattr(module, "base_model", module))}
    if getattr(config, "is_encoder_decoder", False):
        for key in ("encoder", "decoder"):
            part = getattr(module, f"get_{key}", lambda: None)()
            if part is not None and id(part) not in seen:
                seen.add(id(part))
                yield key, part
    for name in getattr(config, "sub_configs", None) or ():
        sub = getattr(config, name, None)
        part = None if sub is None else _holder(module, sub)
        if part is not None and id(part) not in seen:
            seen.add(id(part))
            yield name.removesuffix("_config"), part


def _holder(root: nn.Module, sub: Any) -> nn.Module | None:
    """Find the largest submodule that was built from a sub-config: from that very one, else from one of its class."""
    inside = [module for path, module in root.named_modules() if path and hasattr(module, "base_model")]
    held = [module for module in inside if getattr(module, "config", None) is sub]
    held = held or [module for module in inside if type(getattr(module, "config", None)) is type(sub)]
    return max(held, key=count_parameters, default=None)


def find_blocks(trunk: nn.Module, apart: Iterable[nn.Module] = ()) -> tuple[nn.Module, ...]:
    """Find the layers of a trunk: the chain of like modules with the most parameters, outside the modules `apart`.

    Stages (Swin, ResNet, ConvNeXt) are flattened into their layers.
    """
    hidden = {id(inner) for module in apart if _holds(trunk, module) for inner in module.modules()}
    chains = [module for module in trunk.modules() if id(module) not in hidden and _is_chain(module)]
    chains = [chain for chain in chains if not any(_holds(chain, module) for module in apart)]
    if not chains:
        return ()
    return tuple(_flatten(max(chains, key=count_parameters)))


def _holds(outer: nn.Module, inner: nn.Module) -> bool:
    """Return whether `inner` lies strictly below `outer`."""
    return outer is not inner and any(module is inner for module in outer.modules())


def _is_chain(module: nn.Module) -> bool:
    """Return whether a module is a list of like modules, by class or by what their classes are called."""
    if not isinstance(module, nn.ModuleList | nn.Sequential) or not len(module):
        return False
    names = [type(item).__name__ for item in module]
    if isinstance(module, nn.ModuleList) and len(set(names)) == 1:
        return count_parameters(module) > 0
    return all(name.endswith(CHAIN_NAMES) for name in names)


def _flatten(chain: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of a chain; of a stage, the layers in it."""
    for item in chain.children():
        nested = [item] if _is_chain(item) else [child for child in item.children() if _is_chain(child)]
        if nested and (_is_chain(item) or "Stage" in type(item).__name__):
            yield from _flatten(max(nested, key=count_parameters))
        else:
            yield item


def count_parameters(module: nn.Module) -> int:
    """Count parameters, a shared one once."""
    return sum(parameter.numel() for parameter in module.parameters())
