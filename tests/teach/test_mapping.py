"""Which block learns from which."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from penjing.errors import RecipeError
from penjing.models.open import refreshed
from penjing.models.stack import stack_of
from penjing.teach.mapping import layer_map, original_places


def dropped(model, places):
    """The model with only these layers of its first tower."""
    tower = model.towers[0]
    stack_of(model.net, tower).keep(places)
    return refreshed(model)


def deep(fresh, layers=5):
    """A model of one tower with so many different layers."""
    model = fresh("llama")
    tower = next(tower for tower in model.towers if len(tower.blocks) > 1)
    stack = stack_of(model.net, tower)
    blocks = [copy.deepcopy(tower.blocks[place % len(tower.blocks)]) for place in range(layers)]
    source = torch.Generator().manual_seed(0)
    for block in blocks:
        for parameter in block.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=source))
    stack.rows[0].put(blocks)
    model.net.config.num_hidden_layers = layers
    return refreshed(model)


def test_a_model_of_the_same_depth_learns_block_by_block(fresh):
    assert layer_map(fresh("clip"), fresh("clip")) == {"image": (0, 1), "text": (0, 1)} or all(
        places == tuple(range(len(places))) for places in layer_map(fresh("clip"), fresh("clip")).values()
    )


@pytest.mark.parametrize("kept", [(0, 1, 4), (0, 3), (1, 2, 4), (4,)])
def test_where_layers_were_dropped_a_block_gives_what_the_next_was_made_for(kept, fresh):
    teacher, student = deep(fresh), deep(fresh)
    tower = next(tower for tower in student.towers if tower.blocks)
    stack_of(student.net, tower).rows[0].put([tower.blocks[place] for place in kept])
    student.net.config.num_hidden_layers = len(kept)
    student = refreshed(student)
    name = tower.name
    mine, theirs = (next(one for one in model.towers if one.name == name) for model in (student, teacher))
    assert original_places(mine, theirs) == kept
    assert layer_map(student, teacher)[name] == (*(place - 1 for place in kept[1:]), 4)


def test_strangers_are_spaced_evenly(fresh):
    teacher, student = deep(fresh, 6), deep(fresh, 3)
    source = torch.Generator().manual_seed(9)
    for parameter in student.net.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=source))
    name = next(tower.name for tower in student.towers if tower.blocks)
    assert layer_map(student, teacher)[name] == (1, 3, 5)


def test_a_student_deeper_than_its_teacher_is_refused(fresh):
    with pytest.raises(RecipeError, match="the student has 5 layers, its teacher 3"):
        layer_map(deep(fresh, 5), deep(fresh, 3))


def test_towers_that_only_one_of_them_has_are_left_out(fresh):
    student = fresh("clip")
    teacher = replace(fresh("clip"), towers=student.towers[:1])
    assert list(layer_map(student, teacher)) == [student.towers[0].name]
