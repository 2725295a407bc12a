"""A recipe means the same from Python as on the command line."""

import copy
import dataclasses
import pickle
from pathlib import Path

import pytest

from gateshift.cli.main import parse
from gateshift.cli.recipe_words import put_recipe
from gateshift.errors import SettingsError
from gateshift.evaluation.settings import EvaluationSettings
from gateshift.recipes.options import AugmentOptions, OptimOptions
from gateshift.recipes.recipe import load_recipe, recipe_names
from gateshift.training.settings import TrainSettings

LISTS = (Path("a"), Path("b"), Path("c"))
ROWS = [name for name in recipe_names() if not load_recipe(name).parts]


def typed(*words: str) -> TrainSettings:
    (only,) = put_recipe(["train", "a", "b", "--out", "c", *words]).values()
    settings = parse(only)
    assert isinstance(settings, TrainSettings)
    return settings


@pytest.mark.parametrize("name", ROWS)
def test_settings_of_a_recipe_are_those_of_the_command_line(name: str) -> None:
    settings = TrainSettings(*LISTS, recipe=name)
    assert settings == typed("--recipe", name)
    recipe = load_recipe(name)
    for table in ("model", "optim"):
        assert getattr(recipe, table)
        for option, value in getattr(recipe, table).items():
            assert getattr(getattr(settings, table), option) == value


def test_what_is_given_beside_a_recipe_wins_also_where_it_is_the_plain_default() -> None:
    settings = TrainSettings(*LISTS, recipe="gsm-bninception-8", optim=OptimOptions(accumulate=1, lr=0.02))
    assert settings == typed("--recipe", "gsm-bninception-8", "--accumulate", "1", "--lr", "0.02")
    assert (settings.optim.accumulate, settings.optim.lr, settings.optim.batch_size) == (1, 0.02, 16)
    changed = dataclasses.replace(settings, seed=3, optim=dataclasses.replace(settings.optim, epochs=30))
    assert (changed.optim.accumulate, changed.optim.epochs, changed.optim.batch_size) == (1, 30, 16)
    for other in (copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        assert other == settings
    assert TrainSettings(*LISTS).optim == OptimOptions()


def test_every_kind_of_option_is_taken_and_checked(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[model]\nbackbone = "test_resnet"\nstart = "a.safetensors"\nweights = "None"\nratio = 1\n'
        '[augment]\nmirror_pairs = ["a=b"]\nreverse = true\n[optim]\nlr = 1\n'
    )
    settings = TrainSettings(*LISTS, recipe=str(own))
    assert settings == typed(f"--recipe={own}")
    assert (settings.model.start, settings.model.weights, settings.model.ratio) == ("a.safetensors", None, 1.0)
    assert (settings.augment, settings.optim.lr) == (AugmentOptions(mirror_pairs=("a=b",), reverse=True), 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[optim]\nepochs = "many"\n', r"\[optim\] epochs = 'many'; it must be a whole number"),
        ("[optim]\nepochs = 1.5\n", r"\[optim\] epochs = 1.5; it must be a whole number"),
        ("[optim]\nepochs = true\n", r"\[optim\] epochs = True; it must be a whole number"),
        ('[optim]\noptimizer = "adam"\n', r"\[optim\] optimizer = 'adam'; it must be one of sgd, adamw"),
        ("[model]\ninterleave = 1\n", r"\[model\] interleave = 1; it must be true or false"),
        ('[augment]\nmirror_pairs = "a=b"\n', r"mirror_pairs = 'a=b'; it must be a list of texts"),
        ("[optim]\nlr = '1'\n", r"lr = '1'; it must be a number"),
    ],
)
def test_a_value_of_another_kind_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        TrainSettings(*LISTS, recipe=str(tmp_path / "own.toml"))


def test_a_test_with_a_recipe_has_its_protocol() -> None:
    settings = EvaluationSettings(Path("m"), Path("v"), recipe="gsm-inceptionv3-8x2", crops=3)
    assert (settings.segments, settings.clips, settings.crops) == (8, 2, 3)
    assert settings == parse(["test", "m", "v", "--recipe", "gsm-inceptionv3-8x2", "--crops", "3"])


def test_a_recipe_of_several_models_is_no_settings_of_one() -> None:
    with pytest.raises(
        SettingsError, match="gsm-inceptionv3-ensemble: a recipe of several models.*gsm-inceptionv3-8x2"
    ):
        TrainSettings(*LISTS, recipe="gsm-inceptionv3-ensemble")
