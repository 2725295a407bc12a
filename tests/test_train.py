"""Training from Python: one call, and what it gives back."""

import inspect
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import SMALL, Log, StopAt, assert_same_run, logged, train_small

from gateshift.cli.main import main, parse
from gateshift.errors import GateShiftWarning, SettingsError, StoppedError
from gateshift.recipes.options import TABLES, option_types
from gateshift.recipes.recipe import list_recipes
from gateshift.training import train as module
from gateshift.training.run_folder import RunFolder
from gateshift.training.settings import TrainSettings
from gateshift.training.train import TrainResult, train, train_parts

OPTIONS = {**option_types(TrainSettings), **{k: v for table in TABLES.values() for k, v in option_types(table).items()}}
FLAT = sorted(set(OPTIONS) - {"train", "val", "out", "recipe", *TABLES})


@pytest.mark.slow
def test_a_training_gives_the_best_model_its_figures_and_the_folder(trained: TrainResult, clips: Path) -> None:
    assert {"best.safetensors", "last.safetensors", "log.csv", "training.html"} <= {
        path.name for path in trained.folder.iterdir()
    }
    model = trained.model
    assert model is trained.model
    assert not any(part.training for part in model.modules())
    assert list(model.classes) == (clips / "classes.txt").read_text().splitlines()
    assert model(torch.zeros((1, 4, 3, 32, 32), dtype=torch.uint8)).shape == (1, len(model.classes))
    metrics = trained.metrics
    rows = RunFolder(trained.folder).read_log()
    assert metrics.history == rows
    best = max(rows, key=lambda row: row["val_top1"])
    assert (metrics.best_epoch, metrics.loss, metrics.accuracy) == (best["epoch"], best["loss"], best["accuracy"])
    assert metrics.validation == {name: best[f"val_{name}"] for name in ("top1", "top5", "mean_class")}


def test_the_best_epoch_of_an_older_log_is_the_first_of_the_highest(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for epoch, accuracy in enumerate((0.25, 0.5, 0.5), start=1):
        folder.log({"epoch": epoch, "loss": 1.0, "accuracy": 0.5, "val_top1": accuracy})
    assert module._metrics(folder).best_epoch == 2
    folder.log({"epoch": 4, "loss": 1.0, "accuracy": 0.5, "val_top1": 0.25, "best": 1})  # chosen anew
    assert module._metrics(folder).best_epoch == 4


@pytest.mark.slow
def test_paths_may_be_texts_and_lists_folders_of_class_folders(clips: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for row in (clips / f"{split}.csv").read_text().splitlines()[1:5]:
            path, label = row.split(",")
            (tmp_path / split / label).mkdir(parents=True)
            shutil.copy(clips / path, tmp_path / split / label)
    result = train(str(tmp_path / "train"), str(tmp_path / "val"), out=str(tmp_path / "run"), **SMALL)
    assert result.folder == tmp_path / "run"
    assert len(result.model.classes) == 4
    settings = TrainSettings("a", "b", out="c", root="d", exclude="e")  # type: ignore[arg-type]
    assert (settings.train, settings.val, settings.out) == (Path("a"), Path("b"), Path("c"))
    assert (settings.root, settings.exclude) == (Path("d"), Path("e"))


@pytest.mark.parametrize("name", FLAT)
def test_every_option_of_the_command_line_is_one_of_python_with_the_same_default(name: str) -> None:
    typed = parse(["train", "a", "b", "--out", "c"])
    assert isinstance(typed, TrainSettings)
    assert typed == TrainSettings.from_options("a", "b", out="c")
    default = typed.options()[name]
    assert TrainSettings.from_options("a", "b", out="c", **{name: default}) == typed


def test_the_help_shows_every_option_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = {word.strip(",") for word in capsys.readouterr().out.split() if word.startswith("--")}
    shown = {name for name in FLAT if f"--{name.replace('_', '-')}" in printed}
    assert shown == set(FLAT)
    named = {"train", "val", "out", "recipe", "reporter", "stop"}
    assert set(inspect.signature(train).parameters) == {*named, "options"}


def test_settings_of_the_command_line_are_options_of_python() -> None:
    words = ["train", "a", "b", "--out", "c", "--lr", "0.1", "--mirror-pairs", "x=y", "--resume", "auto"]
    settings = parse([*words, "--recipe", "gsm-bninception-8"])
    assert TrainSettings.from_options(**settings.options()) == settings
    assert settings.optim.batch_size == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bachbone": "resnet18"}, "`bachbone` is not an option of a training; did you mean `backbone`?"),
        ({"model": None}, "`model` is not an option of a training"),
        ({"epochs": "20"}, "`epochs` '20'; it must be a whole number"),
        ({"lr": True}, "`lr` True; it must be a number"),
        ({"balanced": 1}, "`balanced` 1; it must be true or false"),
        ({"optimizer": "adam"}, "`optimizer` 'adam'; it must be one of sgd, adamw"),
        ({"mirror_pairs": "a=b"}, "`mirror_pairs` 'a=b'; it must be a list of texts"),
        ({"exclude": 3}, "`exclude` 3; it must be a path"),
        ({"recipe": "gsm-bninception-9"}, "gsm-bninception-9: no such recipe"),
        (
            {"recipe": "gsm-inceptionv3-ensemble"},
            "several models; choose one of its parts, gsm-inceptionv3-8x2, ",
        ),
    ],
)
def test_what_is_no_option_is_one_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        train("a", "b", out=tmp_path / "run", **options)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_old_names_still_work_and_say_the_new_one() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        old = TrainSettings.from_options("a", "b", out="c", brightness=0.3, smallest_crop=0.75, schedule="one-cycle")
    assert [str(each.message) for each in caught] == [
        "`brightness` is called `color_jitter` now",
        "`smallest_crop` is called `min_crop_scale` now",
        "`schedule=one-cycle` is called `schedule=cosine-step` now",
    ]
    new = {"color_jitter": 0.3, "min_crop_scale": 0.75, "schedule": "cosine-step"}
    assert old == TrainSettings.from_options("a", "b", out="c", **new)
    assert parse(["train", "a", "b", "--out", "c", "--schedule", "epochs"]).optim.schedule == "cosine-epoch"
    with pytest.raises(SettingsError, match="choose one of cosine-epoch, cosine-step"):
        parse(["train", "a", "b", "--out", "c", "--schedule", "one"])


@pytest.mark.slow
def test_a_run_of_the_old_names_resumes(clips: Path, tmp_path: Path) -> None:
    options = {"color_jitter": 0.2, "min_crop_scale": 0.75, "schedule": "cosine-step", "epochs": 2}
    train_small(clips, tmp_path / "whole", **options)
    stopping = StopAt(4)
    with pytest.raises(StoppedError):
        train_small(clips, tmp_path / "run", stopping, stop=stopping.request, **options)
    path = tmp_path / "run" / "settings.json"
    text = path.read_text()
    for new, old in (("color_jitter", "brightness"), ("min_crop_scale", "smallest_crop"), ("cosine-step", "one-cycle")):
        assert f'"{new}"' in text
        text = text.replace(f'"{new}"', f'"{old}"')
    path.write_text(text)
    with pytest.raises(SettingsError, match="`resume` with color_jitter 0.3, but the run has 0.2"):
        train_small(clips, tmp_path / "run", resume=True, **options | {"color_jitter": 0.3})
    train_small(clips, tmp_path / "run", resume=True, **options)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert json.loads(path.read_text())["schedule"] == "cosine-step"


@pytest.mark.slow
def test_a_recipe_means_the_same_as_on_the_command_line(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        '[model]\nbackbone = "test_resnet"\nsize = 32\nsegments = 2\n[test]\nclips = 2\ncrops = 3\n'
        "[optim]\nepochs = 1\nwarmup_epochs = 0\nbatch_size = 8\n[augment]\nbrightness = 0.2\n"
    )
    lists = [clips / "train.csv", clips / "val.csv"]
    words = ["--recipe", str(tmp_path / "own.toml"), "--batch-size", "4", "--workers", "0"]
    with pytest.warns(GateShiftWarning, match="`brightness` is called `color_jitter` now"):
        main(["train", *map(str, lists), "--out", str(tmp_path / "typed"), *words])
        result = train(*lists, out=tmp_path / "run", recipe=tmp_path / "own.toml", batch_size=4, workers=0)
    assert_same_run(tmp_path / "run", tmp_path / "typed")
    config = result.model.config
    assert (config.num_segments, config.num_clips, config.num_crops) == (2, 2, 3)
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["color_jitter"] == 0.2


@pytest.mark.slow
def test_a_recipe_of_several_models_trains_each_of_them(clips: Path, tmp_path: Path) -> None:
    parts = []
    for segments in (1, 2):
        parts.append(f"{segments}.toml")
        (tmp_path / parts[-1]).write_text(f'[model]\nbackbone = "test_resnet"\nsize = 32\nsegments = {segments}\n')
    (tmp_path / "both.toml").write_text(f"parts = {json.dumps(parts)}\n")
    small = {name: value for name, value in SMALL.items() if name not in ("recipe", "backbone", "size", "segments")}
    lists, here = (clips / "train.csv", clips / "val.csv"), Path.cwd()
    os.chdir(tmp_path)
    try:
        results = train_parts(*lists, out="runs", recipe="both.toml", **small)
        again = train_parts(*lists, out="runs", recipe="both.toml", resume=True, **small)  # nothing is left to do
    finally:
        os.chdir(here)
    assert [*results] == [*again] == parts
    for number, (name, result) in enumerate(results.items(), start=1):
        assert result.folder == Path("runs") / name
        assert result.metrics.best_epoch == 1
        assert json.loads((tmp_path / "runs" / name / "settings.json").read_text())["segments"] == number


def test_recipes_are_listed_with_what_they_are() -> None:
    recipes = {recipe.name: recipe for recipe in list_recipes()}
    assert len(recipes) == 14
    one = recipes["gsm-bninception-8"]
    assert (one.network, one.dataset, one.published) == ("bninception gsm", "something-v1", None)
    assert one.url == "https://drive.google.com/uc?id=1rPma02uIiNI-TmL50rOyDDL1JOZeYPzT"
    assert (recipes["gsm-inceptionv3-ensemble"].network, recipes["gsm-inceptionv3-ensemble"].url) == ("", None)


@pytest.mark.slow
def test_nothing_is_printed_and_a_reporter_gets_the_progress(
    clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = Log()
    train_small(clips, tmp_path / "run", log)
    assert "10 training videos, 10 validation videos, 10 classes, 1 process(es) on cpu" in log.text
    assert "learning rate 0.01 for 4 videos per optimizer step" in log.text
    assert capfd.readouterr().out == ""
    assert [row["best"] for row in logged(tmp_path / "run")] == [1]
