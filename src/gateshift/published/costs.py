"""Parameters and multiply-adds of the published networks, without and with their temporal modules."""

from __future__ import annotations

from gateshift.model.classifier import create_model
from gateshift.model.cost import Cost, count_cost
from gateshift.recipes.recipe import Recipe


def recipe_costs(recipe: Recipe) -> tuple[Cost, Cost]:
    """The cost of a published network without its temporal modules, and with them."""
    options, classes = recipe.model, recipe.class_names()
    without = create_model(options["backbone"], "none", classes=classes)
    gated = create_model(
        options["backbone"],
        options["temporal"],
        classes=classes,
        ratio=options.get("ratio", 1.0),
        interleave=options.get("interleave"),
    )
    plain, full = (count_cost(model, num_frames=options["segments"]) for model in (without, gated))
    return plain, full
