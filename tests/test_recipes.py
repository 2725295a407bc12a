"""Recipes: what they say, and every published row from the official layout of its data set to an accuracy."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gateshift as gs
from gateshift.cli.main import main
from gateshift.cli.recipe_words import put_recipe
from gateshift.errors import SettingsError
from gateshift.evaluation.scores import load_scores
from gateshift.recipes.recipe import load_recipe, recipe_names

ENSEMBLE = "gsm-inceptionv3-ensemble"
PARTS = load_recipe(ENSEMBLE).parts
# Those of the ensemble are trained and tested with it.
ROWS = [name for name in recipe_names() if name not in (ENSEMBLE, *PARTS)]
# A few steps on small frames instead of 60 epochs, and no ImageNet start, which would need a network.
QUICK = ["--weights", "None", "--batch-size", "2", "--accumulate", "1", "--epochs", "1"]
QUICK += ["--warmup-epochs", "0", "--workers", "0"]
LEARNING_RATE = "learning rate 0.000625 for 2 videos per optimizer step: 0.01 x 2/32"
SIZE_PX = {"inceptionv3": "107"}  # the smallest that it takes; others take 32


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory,
    write_video: Callable[..., Path],
    write_folder: Callable[..., Path],
    counting_frames: Callable[..., np.ndarray],
) -> dict[str, Path]:
    """A miniature Something-Something V1 and Diving48, in the official layouts, prepared."""
    root = tmp_path_factory.mktemp("sets")
    classes = load_recipe("gsm-inceptionv3-8").class_names()
    something, diving = root / "something", root / "Diving48"
    for number in range(1, 4):
        write_folder(something / f"20bn-something-something-v1/{number}", counting_frames(9), pattern="{:05d}.jpg")
    base = something / "something-something-v1"
    base.with_name("something-something-v1-labels.csv").write_text("\n".join(reversed(classes)))
    base.with_name("something-something-v1-train.csv").write_text(f"1;{classes[86]}\n2;{classes[5]}\n")
    base.with_name("something-something-v1-validation.csv").write_text(f"3;{classes[5]}\n")
    (diving / "rgb").mkdir(parents=True)
    for number in range(1, 4):
        write_video(diving / f"rgb/dive_{number:05d}.mp4", counting_frames(20))
    names = load_recipe("gsm-diving48-16").class_names()
    (diving / "Diving48_vocab.json").write_text(json.dumps([name.split("+") for name in names]))
    for split, numbers in (("train", (1, 2)), ("test", (3,))):
        dives = [{"vid_name": f"dive_{n:05d}", "label": 40 + n % 2, "start_frame": 0, "end_frame": 20} for n in numbers]
        (diving / f"Diving48_{split}.json").write_text(json.dumps(dives))
    main(["prepare", "something-v1", str(something), "--out", str(root / "something-v1")])
    main(["prepare", "diving48", str(diving), "--out", str(root / "diving48")])
    return {name: root / name for name in ("something-v1", "diving48")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_published_row_trains_and_tests_from_the_official_layout(
    name: str, prepared: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = prepared[load_recipe(name).dataset], tmp_path / "run"
    lists = [str(folder / "train.csv"), str(folder / "val.csv")]
    main(
        [
            "train",
            "--recipe",
            name,
            *lists,
            "--out",
            str(out),
            *QUICK,
            "--size",
            SIZE_PX.get(load_recipe(name).model["backbone"], "32"),
        ]
    )
    assert LEARNING_RATE in capsys.readouterr().err
    assert_trained_and_tested_as_published(name, out / "best.safetensors", lists[1], tmp_path / "s.npz", capsys)


def assert_trained_and_tested_as_published(
    name: str, model: Path, videos: str, scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model is what the recipe says, and tests it so that these scores come out."""
    recipe, config = load_recipe(name), gs.load_model(model).config
    assert (config.backbone, config.temporal) == (recipe.model["backbone"], recipe.model["temporal"])
    assert list(config.classes) == recipe.class_names()
    assert (config.num_segments, config.num_clips) == (recipe.model["segments"], recipe.test.clips)
    assert (config.interleave, config.ratio) == (True, recipe.model.get("ratio", 1.0))

    capsys.readouterr()
    main(["test", "--recipe", name, str(model), videos, "--workers", "0", "--scores", str(scores)])
    protocol = f"{recipe.model['segments']} segments × {recipe.test.clips} clips × 1 crops"
    assert f"{protocol}: top-1" in capsys.readouterr().out
    assert load_scores(scores).protocol == protocol


@pytest.mark.slow
def test_the_ensemble_trains_its_four_models_and_averages_their_scores(
    prepared: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = [str(prepared["something-v1"] / name) for name in ("train.csv", "val.csv")]
    main(
        [
            "train",
            "--recipe",
            ENSEMBLE,
            *lists,
            "--out",
            str(tmp_path / "runs"),
            *QUICK,
            "--size",
            SIZE_PX["inceptionv3"],
        ]
    )
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(PARTS)
    assert capsys.readouterr().err.count(LEARNING_RATE) == len(PARTS) == 4
    options = ["--workers", "0", "--scores"]
    main(["test", f"--recipe={ENSEMBLE}", str(tmp_path / "runs"), lists[1], *options, str(tmp_path / "all.npz")])
    printed = capsys.readouterr().out
    assert [f"/{part}/best" in line for part, line in zip(PARTS, printed.splitlines(), strict=False)] == [True] * 4
    assert "ensemble of 4 (8 segments × 2 clips × 1 crops + 12 segments × 2 clips" in printed
    total = 0
    for part in PARTS:
        model, path = tmp_path / "runs" / part / "best.safetensors", tmp_path / f"{part}.npz"
        assert_trained_and_tested_as_published(part, model, lists[1], path, capsys)
        total = total + load_scores(path).logits
    np.testing.assert_allclose(load_scores(tmp_path / "all.npz").logits, total / 4, rtol=1e-5, atol=1e-7)


def test_every_row_of_the_issue_is_there_with_its_published_figure() -> None:
    published = {name: load_recipe(name).published for name in recipe_names()}
    assert published == {
        "gsm-bninception-8": None,
        "gsm-bninception-16": None,
        "gsm-inceptionv3-8": 49.01,
        "gsm-inceptionv3-12": 51.58,
        "gsm-inceptionv3-16": 50.63,
        "gsm-inceptionv3-24": 49.63,
        "gsm-inceptionv3-8x2": 50.43,
        "gsm-inceptionv3-12x2": 51.98,
        ENSEMBLE: 55.16,
        "gsm-diving48-16": 39.03,
        "gsm-diving48-16x2": 40.27,
        "gsf-bninception-16": 50.63,
        "gsf-inceptionv3-16": 53.13,
        "gsf-resnet50-16": 51.54,
    }


def test_what_is_typed_wins_over_the_recipe() -> None:
    from gateshift.cli.main import parse

    words = put_recipe(["train", "a", "b", "--segments", "4", "--recipe", "gsm-inceptionv3-16", "--out", "c"])
    settings = parse(words["gsm-inceptionv3-16"])
    assert (settings.model.segments, settings.model.backbone) == (4, "inceptionv3")
    assert (settings.optim.batch_size, settings.optim.accumulate, settings.optim.validate_every) == (16, 2, 5)
    assert settings.recipe == "gsm-inceptionv3-16"


def test_the_rate_scales_with_the_real_batch() -> None:
    from gateshift.recipes.options import OptimOptions

    assert OptimOptions(lr=0.01, lr_batch=32, batch_size=16, accumulate=2).peak_lr == 0.01
    assert OptimOptions(lr=0.01, lr_batch=32, batch_size=8, accumulate=1).peak_lr == 0.0025
    assert OptimOptions(lr=0.01, batch_size=8).peak_lr == 0.01


def test_a_recipe_of_ones_own_takes_every_kind_of_option(tmp_path: Path) -> None:
    from gateshift.cli.main import parse

    (tmp_path / "own.toml").write_text(
        '[model]\nbackbone = "test_resnet"\ninterleave = false\nsegments = 3\n[optim]\npartial_bn = true\nlr = 1\n'
        '[augment]\nmirror_pairs = ["a=b", "c=d"]\ncolor_jitter = 0.2\n[test]\nclips = 2\ncrops = 3\n'
    )
    own = str(tmp_path / "own.toml")
    (words,) = put_recipe(["train", "a", "b", "--out", "c", f"--recipe={own}"]).values()
    settings = parse(words)
    assert (settings.model.interleave, settings.optim.partial_bn, settings.optim.lr) == (False, True, 1.0)
    assert settings.augment.mirror_pairs == ("a=b", "c=d")
    (words,) = put_recipe(["test", "m", "v", "--recipe", own]).values()
    settings = parse(words)
    assert (settings.segments, settings.clips, settings.crops) == (3, 2, 3)


def test_a_recipe_says_no_more_than_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "clips.toml").write_text("[test]\nclips = 2\n")
    own = str(tmp_path / "clips.toml")
    assert put_recipe(["test", "m", "v", "--recipe", own]) == {own: ["test", "--recipe", own, "m", "v"]}
    assert put_recipe(["train", "a", "b", f"--recipe={own}"]) == {own: ["train", "--recipe", own, "a", "b"]}
    with pytest.raises(SettingsError, match="no such recipe"):
        put_recipe(["test", "m", "v", "--recipe="])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\nsegmets = 8\n", r"\[model\] segmets is not an option; did you mean segments\?"),
        ("[modle]\nsegments = 8\n", "modle is not an option; did you mean model?"),
        ("model = 8\n", r"model = 8; it is a table, \[model\]"),
        ('parts = ["a"]\n[model]\nsegments = 8\n', "has parts and options"),
        ("segments = \n", "not TOML"),
        ("[released]\nfile = 'x'\n", "google_drive"),
        ("[test]\nclips = '2'\n", r"\[test\] clips = '2'; it must be a whole number"),
        ("parts = 3\n", "own.toml: parts = 3; it must be a list of texts; correct the file"),
        ("parts = 'gsm-bninception-8'\n", "parts = 'gsm-bninception-8'; it must be a list of texts"),
        ("title = 5\n", "title = 5; it must be a text"),
        ("published = 'high'\n", "published = 'high'; it must be a number"),
        ("[augment]\nbrightness = 0.3\ncolor_jitter = 0.2\n", "`brightness` and `color_jitter` are one option"),
        ("[augment]\ncolor_jitter = 0.2\nbrightness = 0.3\n", "`brightness` and `color_jitter` are one option"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_recipe(str(tmp_path / "own.toml"))


def test_an_unknown_recipe_is_refused_with_its_neighbours() -> None:
    with pytest.raises(SettingsError, match="gsm-inceptionv3-9: no such recipe.*gsm-inceptionv3-8"):
        load_recipe("gsm-inceptionv3-9")
    with pytest.raises(SettingsError, match=r"own\.toml: no such file"):
        load_recipe("own.toml")


def test_a_printed_recipe_is_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipes", "gsf-resnet50-16"])
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    mine, published = load_recipe(str(tmp_path / "mine.toml")), load_recipe("gsf-resnet50-16")
    assert (mine.model, mine.optim, mine.test) == (published.model, published.optim, published.test)
    main(["recipes"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in recipe_names())


def test_a_missing_model_of_an_ensemble_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "val.csv").write_text("path,label\nx,Opening something\n")
    with pytest.raises(SystemExit) as stop:
        main(["test", "--recipe", ENSEMBLE, str(tmp_path), str(tmp_path / "val.csv")])
    assert stop.value.code == 2
    assert "no model gsm-inceptionv3-8x2: neither" in capsys.readouterr().err
