"""Divide a network among its towers: every parameter and every site gets exactly one owner.

Trunks own what lies below them, the deepest one first. Token tables and output heads are carved out. What is left at
the top is a head where it closes a single trunk or is called like one, and a connector where it lies between several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from torch import nn

from penjing.models.capture import run_until
from penjing.models.roles import HEAD_NAME, input_tables, modality_of, name_of, output_layers, role_of, unique
from penjing.models.tower import Modality, Role, Site, Tower, find_sites
from penjing.models.trunks import Trunk, find_trunks

Place = TypeVar("Place")


@dataclass(eq=False, slots=True)
class Share:
    """A tower while it is being cut out: where its modules are and what it owns so far."""

    name: str
    role: Role
    modality: Modality
    paths: list[str]
    blocks: tuple[nn.Module, ...] = ()
    sites: dict[str, Site] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)


def divide(net: nn.Module) -> list[Tower]:
    """Find all towers of any transformers model: trunks in module order, then connector, embeddings and head."""
    trunks = find_trunks(net)
    shares = [_share(net, trunk) for trunk in trunks]
    tables = _table_shares(net, shares)
    owned = {id(net.get_submodule(share.paths[0]).weight): share for share in tables}
    rest = _rest_shares(net, shares, set(owned))
    everything = [*shares, *rest, *tables]
    places = {path: share for share in [*shares, *rest] for path in share.paths}
    default = next((share for share in rest if share.role == "connector"), shares[0])
    for name, parameter in net.named_parameters():
        (owned.get(id(parameter)) or _owner(name, places) or default).parameters.add(name)
    for name, site in find_sites(net, net).items():
        table = owned.get(id(site.module._parameters.get("weight")))
        marked = site
        if table is None and site.kind == "embedding":
            marked = replace(site, kind="position")
        (table or _owner(name, places) or default).sites[name] = marked
    kept = [share for share in everything if share.parameters]
    names = unique(share.name for share in kept)
    return [_tower(net, share, name) for share, name in zip(kept, names, strict=True)]


def _share(net: nn.Module, trunk: Trunk) -> Share:
    """Start the share of a trunk."""
    modality = modality_of(net, trunk)
    role = role_of(net, trunk, modality)
    name = name_of(trunk, role, modality)
    return Share(name, role, "mixed" if role == "connector" else modality, [trunk.path], trunk.blocks)


def _table_shares(net: nn.Module, shares: list[Share]) -> list[Share]:
    """One share per token table, with the paths of everything that reads the same weight."""
    found = []
    tables = input_tables(net)
    for table in tables:
        paths = [
            path
            for path, module in net.named_modules()
            if isinstance(module, nn.Embedding) and module.weight is table.weight
        ]
        inside = next((share.name for share in shares if _below(paths[0], share.paths[0])), "")
        name = "embedding" if len(tables) == 1 or not inside else f"{inside}_embedding"
        found.append(Share(name, "embedding", "text", paths))
    return found


def _rest_shares(net: nn.Module, shares: list[Share], tables: set[int]) -> list[Share]:
    """Heads (also those inside a trunk) and connectors, from what no trunk holds."""
    paths = {id(module): path for path, module in net.named_modules()}
    heads = [
        paths[id(layer)]
        for layer in output_layers(net)
        if any(id(parameter) not in tables for parameter in layer.parameters())
        and id(getattr(layer, "weight", None)) not in tables
    ]
    taken = [path for share in shares for path in share.paths] + heads
    connectors: list[str] = []
    for path in _leftovers(net, taken, tables):
        closes = len(shares) == 1 or HEAD_NAME.search(path.rpartition(".")[2])
        (heads if closes else connectors).append(path)
    found = []
    bare = any(_owner(name, dict.fromkeys(taken, True)) is None for name in _own_parameters(net, "", taken))
    if connectors or (bare and len(shares) > 1):
        found.append(Share("connector", "connector", "mixed", connectors))
    if heads:
        spoken = any(paths[id(layer)] in heads for layer in output_layers(net))
        found.append(Share("head", "head", "text" if spoken or len(shares) > 1 else shares[0].modality, heads))
    return found


def _leftovers(net: nn.Module, taken: list[str], tables: set[int]) -> Iterator[str]:
    """Yield the largest modules that hold parameters, none of them in a taken module or a token table."""

    def visit(path: str, module: nn.Module) -> Iterator[str]:
        if path in taken and path:
            return
        if any(_below(other, path) for other in taken):
            for name, child in module.named_children():
                yield from visit(f"{path}.{name}" if path else name, child)
        elif any(id(parameter) not in tables for parameter in module.parameters()):
            yield path

    if "" not in taken:
        yield from visit("", net)


def _own_parameters(net: nn.Module, path: str, taken: list[str]) -> Iterator[str]:
    """Yield the parameters that hang on the modules above the taken ones (a bare `logit_scale`)."""
    for other, module in net.named_modules():
        if other not in taken and any(_below(inner, other) for inner in taken):
            for name, _ in module.named_parameters(recurse=False):
                yield f"{other}.{name}" if other else name


def _below(path: str, root: str) -> bool:
    """Return whether a path is another one or lies below it; everything lies below the root."""
    return not root or path == root or path.startswith(root + ".")


def _owner(name: str, places: Mapping[str, Place]) -> Place | None:
    """Return the owner of the deepest place above a name."""
    path = name
    while path:
        if path in places:
            return places[path]
        path = path.rpartition(".")[0]
    return places.get("")


def _tower(net: nn.Module, share: Share, name: str) -> Tower:
    """Freeze a share. A share of several modules is known by the whole network."""
    single: Iterable[str] = share.paths if len(share.paths) == 1 or share.role == "embedding" else [""]
    module = net.get_submodule(next(iter(single), ""))
    return Tower(
        name=name,
        role=share.role,
        modality=share.modality,
        module=module,
        run=run_until(net, name, share.paths if share.role == "embedding" else list(single)),
        blocks=share.blocks,
        sites=share.sites,
        parameter_names=frozenset(share.parameters),
    )
