"""Open a model: a folder, a hub id or a built-in name becomes a network with its towers and its identity."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from penjing.errors import ModelError
from penjing.layers.described import DescribedLayer
from penjing.models.anything import AnyModule, model_around
from penjing.models.checkpoint import check_folder
from penjing.models.family import Model, Origin
from penjing.models.hub import locate
from penjing.models.network import load_network
from penjing.models.pruned import adopt_masks
from penjing.models.registry import family_of
from penjing.models.tower import Site, Tower
from penjing.models.trunks import count_parameters


def open_model(name: str) -> Model:
    """Open any transformers checkpoint in float32, checked weight by weight; only safetensors, never remote code.

    `source` in the result is the identity for the manifest; `unused_weights` are tensors in the file that the network
    has no place for.
    """
    place = locate(name)
    weights = check_folder(place.folder, name)
    net, unused = load_network(place.folder)
    source = {
        "id": place.id,
        "revision": place.revision,
        "sha256": weights.sha256(),
        "size_bytes": weights.size_bytes,
        "parameters": count_parameters(net),
        "unused_weights": list(unused),
    }
    return model_of(net, name, place.folder, source)


def reopen(origin: Origin) -> Model:
    """Open a checkpoint once more: the very files, which are neither looked for nor hashed again.

    Raises:
        ModelError: they have changed since.
    """
    if check_folder(origin.folder, origin.name).sha256() != origin.source["sha256"]:
        raise ModelError(f"{origin.name} has changed since it was opened", hint="run the command again")
    return model_of(load_network(origin.folder)[0], origin.name, origin.folder, origin.source)


def model_of(net: nn.Module, name: str, folder: Path, source: Mapping[str, Any]) -> Model:
    """Describe a network that is already in memory: its family, its towers, what the shop must know.

    Where torch.nn.utils.prune has pruned it, masked layers take over (`adopt_masks`).
    """
    adopt_masks(net)
    config: Any = net.config
    family = family_of(config)
    with _blamed_on_files(folder):
        settings = family.settings(net, folder)
    return Model(
        name=name,
        net=net,
        config=config,
        folder=folder,
        family=family,
        towers=tuple(family.towers(net)),
        settings=settings,
        source=source,
    )


@contextlib.contextmanager
def _blamed_on_files(folder: Path) -> Iterator[None]:
    """Turn a value of a wrong type in a checkpoint's configuration files, met while they are read, into one line."""
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{folder}: a front end or tokenizer file holds what it should not: {type(error).__name__}: {reason}",
            hint="look at preprocessor_config.json, processor_config.json and generation_config.json",
        ) from error


def refreshed(model: Model, net: nn.Module | None = None, folder: Path | None = None) -> Model:
    """Describe a model anew after its structure changed, or around another network that stands for it.

    `folder` is where configuration and tokenizer are, if not where they were.

    Sites that hold codes or a mask by now are no longer found by the type of their layer: they stay the sites they
    were as long as their place is there.
    """
    net = model.net if net is None else net
    if isinstance(model.family, AnyModule):
        described = model_around(net, model.family.example)
    else:
        described = model_of(net, model.name, folder or model.folder, model.source)
    known = {name: site for tower in model.towers for name, site in tower.sites.items()}
    return replace(described, towers=tuple(_with_known(tower, known, model, net) for tower in described.towers))


def _with_known(tower: Tower, known: Mapping[str, Site], model: Model, net: nn.Module) -> Tower:
    """A tower with the sites that it had and that still are somewhere in the network, in module order."""
    before = next((one for one in model.towers if one.name == tower.name), None)
    modules = dict(net.named_modules(remove_duplicate=False))
    sites = dict(tower.sites)
    for name in before.sites if before else ():
        parent = name.rpartition(".")[0]
        if name not in sites and isinstance(modules.get(name), DescribedLayer) and not _holds(sites, name):
            sites[name] = replace(known[name], parent=modules[parent], tied=_moved(known[name].tied, modules))
    order = {name: place for place, name in enumerate(modules)}
    return replace(tower, sites=dict(sorted(sites.items(), key=lambda item: order[item[0]])))


def _moved(places: tuple[Site, ...], modules: Mapping[str, nn.Module]) -> tuple[Site, ...]:
    return tuple(replace(place, parent=modules[place.name.rpartition(".")[0]]) for place in places)


def _holds(sites: Mapping[str, Site], name: str) -> bool:
    """Whether the place was split into parts that are sites of their own."""
    return any(inner.startswith(f"{name}.") for inner in sites)
