"""Parameters and multiply-adds of the published networks, without and with their temporal modules."""

from __future__ import annotations

import functools

from gateshift.model.classifier import create_model
from gateshift.model.cost import Cost, count_cost
from gateshift.recipes.recipe import Recipe


def recipe_costs(recipe: Recipe) -> tuple[Cost, Cost]:
    """The cost of a published network without its temporal modules, and with them."""
    options, num_classes = recipe.model, len(recipe.class_names())
    ratio, interleave = options.get("ratio", 1.0), options.get("interleave")
    plain = _network_cost(options["backbone"], "none", num_classes)
    full = _network_cost(options["backbone"], options["temporal"], num_classes, ratio=ratio, interleave=interleave)
    return plain, full


@functools.cache  # most recipes are of the same few networks, and a frame costs the same in a clip of any length
def _network_cost(
    backbone: str, temporal: str, num_classes: int, *, ratio: float = 1.0, interleave: bool | None = None
) -> Cost:
    model = create_model(backbone, temporal, num_classes=num_classes, ratio=ratio, interleave=interleave)
    return count_cost(model, num_frames=1)
