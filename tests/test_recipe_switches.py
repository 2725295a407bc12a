"""Each switch of the training beside the papers' recipe, and a run with all of them on."""

import dataclasses
import json
import math
import pkgutil
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_run import StopAfter, logged, read_csv
from torch.nn import functional as F

import gateshift as gs
from gateshift.cli.main import main, parse
from gateshift.data.clips.loader import BalancedShuffle
from gateshift.devices import create_accelerator
from gateshift.recipes.options import AugmentOptions, ModelOptions, OptimOptions, SkewOptions
from gateshift.recipes.recipe import put_recipe
from gateshift.training.loop import train
from gateshift.training.losses import Loss, balancing_weights
from gateshift.training.optimizer import (
    TrainingStep,
    create_optimizer,
    freeze_backbone,
    layer_scales,
    one_cycle_rate,
    set_rates,
)
from gateshift.training.settings import TrainSettings

SMALL = ["--backbone", "test_resnet", "--size", "32", "--segments", "2", "--batch-size", "4", "--workers", "0"]
EVERYTHING = """
    --drop-path 0.3 --schedule one-cycle --gates-warmup-epochs 2 --layer-decay 0.8 --freeze-epochs 1 --ema 0.9
    --label-smoothing 0.1 --optimizer adamw --lr 0.002 --gates-lr 0.01 --accumulate 2 --brightness 0.2 --rand-augment 9
    --erasing 0.3 --mixup 0.4 --cutmix 1 --balanced --focal-gamma 2 --skip-bad 1 --smallest-crop 0.75
"""


def test_one_cycle_rises_in_a_line_to_the_peak_and_falls_along_a_cosine() -> None:
    rates = [one_cycle_rate(u, peak=0.5, warmup_updates=4, num_updates=20) for u in range(20)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[12] == pytest.approx(0.25)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.01


@pytest.fixture
def model() -> gs.VideoClassifier:
    torch.manual_seed(0)
    return gs.create_model("test_resnet", "gsm", num_classes=3, dropout=0.0).train()


def rates_by_name(model: gs.VideoClassifier, optim: OptimOptions, **when: int) -> dict[str, float]:
    optimizer = create_optimizer(model, optim)
    set_rates(optimizer, optim, **when)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: rate_of[id(p)] for name, p in model.named_parameters()}


def test_gates_can_warm_up_for_longer_than_the_rest(model: gs.VideoClassifier) -> None:
    optim = OptimOptions(epochs=10, warmup_epochs=0, gates_warmup_epochs=5, lr=1.0, new_layers_lr=2.0)
    rates = rates_by_name(model, optim, epoch=0, update=0, updates_per_epoch=3)
    assert rates["backbone.layer1.0.conv2.temporal.weight"] == pytest.approx(2 * 0.1)
    assert rates["head.weight"] == 2.0
    assert rates["backbone.layer1.0.conv1.weight"] == 1.0


@pytest.mark.parametrize(("temporal", "other"), [("gsm", "bn.weight"), ("gsf", "fuse.weight")])
def test_the_convolutions_of_the_gates_have_a_rate_of_their_own(temporal: str, other: str) -> None:
    model = gs.create_model("test_resnet", temporal, num_classes=3)
    optim = OptimOptions(warmup_epochs=0, lr=1.0, new_layers_lr=5.0, gates_lr=0.01, layer_decay=0.5)
    rates = rates_by_name(model, optim, epoch=0, update=0, updates_per_epoch=1)
    gate = "backbone.layer4.0.conv2.temporal"
    assert rates[f"{gate}.weight"] == rates[f"{gate}.bias"] == pytest.approx(0.01)
    assert rates[f"{gate}.{other}"] == rates["head.weight"] == 5.0
    assert rates["backbone.layer4.0.conv1.weight"] == 0.5


def test_one_cycle_counts_updates_of_all_epochs(model: gs.VideoClassifier) -> None:
    optim = OptimOptions(epochs=4, warmup_epochs=1, lr=1.0, schedule="one-cycle")
    rates = rates_by_name(model, optim, epoch=2, update=1, updates_per_epoch=5)
    (rate,) = set(rates.values())
    assert rate == pytest.approx((1 + math.cos(math.pi * (11 - 5) / 15)) / 2)


def test_the_rate_of_the_backbones_layers_falls_towards_the_input(model: gs.VideoClassifier) -> None:
    rates = rates_by_name(
        model, OptimOptions(warmup_epochs=0, lr=1.0, layer_decay=0.5), epoch=0, update=0, updates_per_epoch=1
    )
    assert rates["head.weight"] == rates["backbone.layer1.0.conv2.temporal.weight"] == 1.0
    chain = ["layer4.0.conv1", "layer3.0.conv1", "layer2.0.conv1", "layer1.0.conv1", "conv1.0"]
    assert [rates[f"backbone.{name}.weight"] for name in chain] == [0.5**n for n in range(1, 6)]
    assert len(rates) == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["bninception", "torchvision/mobilenet_v2", "convnext_atto"])
def test_every_parameter_of_a_backbone_has_a_layer(name: str) -> None:
    backbone = gs.create_model(name, "gsm", num_classes=2).backbone
    scales = layer_scales(backbone, 0.9)
    ordered = [scales[id(p)] for p in backbone.parameters()]
    assert len(set(ordered)) > 10
    assert min(ordered) == ordered[0]
    assert max(ordered) == pytest.approx(0.9)


def clips_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (4, 4, 3, 32, 32), dtype=torch.uint8, generator=generator), torch.tensor([0, 1, 2, 0])


def test_a_frozen_backbone_keeps_weights_and_statistics_while_gates_and_classifier_learn(
    model: gs.VideoClassifier,
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = create_optimizer(model, OptimOptions(lr=0.1))
    step = TrainingStep(create_accelerator("no"), model, optimizer, clip_norm=20.0)
    frozen = freeze_backbone(model)
    for _ in range(2):  # gates get a gradient once the classifier has one
        step(*clips_and_labels(), frozen=frozen)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"head.weight", "backbone.layer1.0.conv2.temporal.weight"} <= moved
    assert all(".temporal." in name or name.startswith("head.") for name in moved)
    model.train()
    step(*clips_and_labels())
    assert not torch.equal(model.state_dict()["backbone.conv1.0.weight"], before["backbone.conv1.0.weight"])


def test_stochastic_depth_acts_in_training_alone_and_is_not_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = gs.create_model("test_resnet", num_classes=3, dropout=0.0, drop_path=0.9)
    clips, _ = clips_and_labels()
    model.train()
    assert not torch.equal(model(clips), model(clips))
    model.eval()
    gs.save_model(model, tmp_path / "m.safetensors")
    loaded = gs.load_model(tmp_path / "m.safetensors").eval()
    assert torch.equal(loaded(clips), model(clips))
    assert not any("DropPath" in type(module).__name__ for module in loaded.modules())


@pytest.mark.parametrize("name", ["bninception", "densenet121", "torchvision/resnet18"])
def test_a_network_without_stochastic_depth_says_so(name: str) -> None:
    with pytest.raises(gs.GateShiftError, match=f"{name} has no stochastic depth; .*leave `drop_path` out"):
        gs.create_model(name, num_classes=2, drop_path=0.1)


def logits_and_targets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.randn(5, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])


def test_the_plain_loss_is_cross_entropy_of_classes_and_of_shares() -> None:
    logits, targets = logits_and_targets()
    shares = F.one_hot(targets, 3).double()
    expected = F.cross_entropy(logits, targets, label_smoothing=0.2)
    assert torch.equal(Loss(0.2)(logits, targets), expected)
    torch.testing.assert_close(Loss(0.2)(logits, shares), expected)
    ones = Loss(0.2, class_weights=torch.ones(3))
    torch.testing.assert_close(ones(logits, targets), expected)
    torch.testing.assert_close(ones(logits, shares), expected)


def test_focal_loss_is_that_of_its_paper() -> None:
    logits, targets = logits_and_targets()
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        probability = math.exp(row[target]) / sum(math.exp(value) for value in row)
        total += -((1 - probability) ** 2) * math.log(probability)
    assert float(Loss(focal_gamma=2.0)(logits, targets)) == pytest.approx(total / 5)


def test_focal_loss_has_a_finite_slope_where_the_network_is_sure() -> None:
    logits = torch.tensor([[80.0, 0.0, 0.0]], requires_grad=True)
    Loss(focal_gamma=0.5)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_class_weights_let_every_class_count_the_same() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = balancing_weights(labels, 5)
    totals = [float(weights[label] * (labels == label).sum()) for label in (0, 1, 3)]
    assert totals == pytest.approx([10 / 3] * 3)
    assert float(weights[labels].mean()) == pytest.approx(1.0)
    assert torch.isfinite(weights).all()
    logits = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    each = F.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
    found = Loss(class_weights=weights)(logits, torch.from_numpy(labels))
    torch.testing.assert_close(found, (each * weights[labels]).mean())


def test_balanced_epochs_show_every_class_equally_often() -> None:
    labels = np.array([0] * 20 + [1] * 3 + [4] * 1)
    order = BalancedShuffle(labels, seed=0)
    first = list(order)
    assert len(first) == len(order) == 24
    assert np.bincount(labels[np.array(first) % 24], minlength=5).tolist() == [8, 8, 0, 0, 8]
    assert len(set(first)) == 24  # the same video again has another index, and so another clip
    common = [index for index in first if labels[index % 24] == 0]
    assert len({index % 24 for index in common}) == 8
    rare = np.bincount(np.array([index % 24 for index in first if labels[index % 24] == 1]))[20:]
    assert sorted(rare.tolist()) == [2, 3, 3]
    assert list(order) == first
    order.epoch = 1
    assert list(order) != first


def test_the_rest_of_a_balanced_epoch_goes_to_different_classes() -> None:
    order = BalancedShuffle(np.array([0, 0, 0, 1, 1]), seed=0)
    counts = []
    for order.epoch in range(20):
        counts.append(sum(index % 5 < 3 for index in order))
    assert set(counts) == {2, 3}


def test_the_same_video_again_is_another_clip(clips: Path) -> None:
    from gateshift.data.clips.dataset import Augmentation, TrainingClips
    from gateshift.data.lists.manifest import read_manifest

    manifest = read_manifest(clips / "train.csv")
    names = manifest.class_names()
    still = torch.zeros(len(names), dtype=torch.bool)
    dataset = TrainingClips(manifest, names, Augmentation(32, 4, torch.arange(len(names)), still), seed=0)
    one, again = dataset[2], dataset[2 + len(dataset)]
    assert (one["indices"], one["labels"]) == (again["indices"], again["labels"])
    assert not torch.equal(one["clips"], again["clips"])


def start(folder: Path, out: Path, *options: object, run: list[str] = SMALL) -> list[str]:
    lists = ["train", str(folder / "train.csv"), str(folder / "val.csv"), "--out", str(out)]
    return [*lists, *run, "--warmup-epochs", "0", *map(str, options)]


def test_a_run_with_everything_on_that_is_stopped_ends_with_the_same_weights(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips, folder := tmp_path / "clips")
    rows = read_csv(folder / "train.csv")
    (folder / rows[0]["path"]).write_bytes(b"no video")
    pairs = ["--reversal-pairs", f"{rows[1]['label']}={rows[2]['label']}"]
    whole = tmp_path / "whole"
    main(start(folder, whole, "--epochs", 3, *EVERYTHING.split(), *pairs))
    stopped = start(folder, tmp_path / "stopped", "--epochs", 3, *EVERYTHING.split(), *pairs)
    with pytest.raises(KeyboardInterrupt):
        train(parse(stopped), StopAfter(2))
    main([*stopped, "--resume"])
    for name in ("last.safetensors", "best.safetensors", "state/model.safetensors"):
        one, two = load_file(whole / name), load_file(tmp_path / "stopped" / name)
        assert all(torch.equal(one[key], two[key]) for key in one), name
    folders = [gs.training.run_folder.RunFolder(path) for path in (whole, tmp_path / "stopped")]
    assert logged(folders[0]) == logged(folders[1])
    assert folders[0].skipped.read_text() == folders[1].skipped.read_text()


def test_the_average_of_the_weights_is_what_is_validated_and_saved(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of three updates, followed by hand."""
    updated: list[dict[str, torch.Tensor]] = []
    validated: list[dict[str, torch.Tensor]] = []
    follow(monkeypatch, "gateshift.training.setup.WeightAverage.update", lambda _, model, __: model, updated)
    follow(monkeypatch, "gateshift.training.loop.evaluate", lambda model, *_, **__: model, validated)
    main(start(clips, tmp_path / "run", "--ema", 0.5, "--epochs", 2, "--lr", 0.05))
    expected = updated[0]
    for number, weights in enumerate(updated[1:], start=2):
        decay = min(0.5, 1 - number ** (-2 / 3))
        expected = {
            name: decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value
            for name, value in weights.items()
        }
    saved = gs.load_model(tmp_path / "run" / "last.safetensors").state_dict()
    assert len(updated) == 6
    torch.testing.assert_close(saved, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(saved["head.weight"], updated[-1]["head.weight"])
    assert len(validated) == 2
    assert all(torch.equal(validated[-1][name], value) for name, value in saved.items())


def follow(
    monkeypatch: pytest.MonkeyPatch, name: str, model_of: Callable, weights: list[dict[str, torch.Tensor]]
) -> None:
    """Keep the weights of the model that a function is called with, and let it do its work."""
    function = pkgutil.resolve_name(name)

    def followed(*args: object, **options: object) -> object:
        weights.append({key: value.clone() for key, value in model_of(*args, **options).state_dict().items()})
        return function(*args, **options)

    monkeypatch.setattr(name, followed)


@pytest.fixture(scope="module")
def a_video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable, counting_frames: Callable) -> Path:
    return Path(write_video(tmp_path_factory.mktemp("video") / "any.mp4", counting_frames(6)))


@pytest.fixture
def flawed(tmp_path: Path, a_video: Path) -> Path:
    """Lists of six videos to learn from, of which the first two cannot be read, and one to validate on."""
    for number in range(2, 7):
        shutil.copy(a_video, tmp_path / f"{number}.mp4")
    for number in range(2):
        (tmp_path / f"{number}.mp4").write_bytes(b"no video")
    (tmp_path / "train.csv").write_text("path,label\n" + "".join(f"{n}.mp4,{'ab'[n % 2]}\n" for n in range(6)))
    (tmp_path / "val.csv").write_text("path,label\n6.mp4,a\n")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    main(words)
    return capsys.readouterr().err


def test_videos_that_cannot_be_read_are_skipped_counted_and_listed(
    flawed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = said(capsys, start(flawed, flawed / "run", "--epochs", 2, "--skip-bad", 2, run=[*SMALL, "--batch-size", "1"]))
    assert "2 videos could not be read and were left out" in err
    assert err.count("0.mp4") == err.count("1.mp4") == 1
    rows = read_csv(flawed / "run/skipped.csv")
    assert sorted(row["path"] for row in rows) == ["0.mp4", "1.mp4"]
    assert all(row["path"] in row["reason"] for row in rows)
    left_out = said(capsys, start(flawed, flawed / "next", "--epochs", 1, "--exclude", flawed / "run/skipped.csv"))
    assert "2 of 6 videos to learn from, 0 of 1 to validate on" in left_out
    assert "4 videos to learn from, 1 to validate on, 2 classes" in left_out


def test_one_more_bad_video_than_may_be_skipped_stops_the_training(
    flawed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(start(flawed, flawed / "run", "--epochs", 1, "--skip-bad", 1))
    assert "--skip-bad 1: 2 videos cannot be read, the last: " in capsys.readouterr().err


def test_a_run_goes_on_with_another_limit_and_remembers_what_was_skipped(flawed: Path) -> None:
    words = start(flawed, flawed / "run", "--epochs", 2)
    with pytest.raises(KeyboardInterrupt):
        train(parse([*words, "--skip-bad", "2"]), StopAfter(1))
    shutil.copy(flawed / "2.mp4", flawed / "0.mp4")  # readable from now on
    main([*words, "--skip-bad", "3", "--resume"])
    assert len(read_csv(flawed / "run/skipped.csv")) == 2


def test_if_no_video_can_be_read_there_is_no_training(flawed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (flawed / "train.csv").write_text("path,label\n0.mp4,a\n1.mp4,b\n")
    with pytest.raises(SystemExit):
        main(start(flawed, flawed / "run", "--epochs", 1, "--skip-bad", 9))
    assert "none of the videos to learn from can be read" in capsys.readouterr().err


def test_excluded_videos_go_by_their_path_in_the_list_or_whole(
    flawed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (flawed / "bad.csv").write_text(f"reason,path\nempty,0.mp4\nempty,{flawed / '1.mp4'}\n")
    err = said(capsys, start(flawed, flawed / "run", "--epochs", 1, "--exclude", flawed / "bad.csv"))
    assert f"left out by {flawed / 'bad.csv'}: 2 of 6 videos to learn from" in err
    assert json.loads((flawed / "run/settings.json").read_text())["classes"] == ["a", "b"]


def test_videos_to_validate_on_that_are_learned_from_are_counted(
    flawed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = said(capsys, start(flawed, flawed / "run", "--epochs", 1, "--skip-bad", 2))
    assert "learned from too" not in err
    (flawed / "lists").mkdir()
    (flawed / "lists/train.csv").write_text("path,label\n../2.mp4,a\n../3.mp4,b\n../4.mp4,b\n")
    (flawed / "val.csv").write_text("path,label\n3.mp4,b\n5.mp4,a\n")
    words = [*start(flawed, flawed / "next", "--epochs", 1)]
    words[words.index(str(flawed / "train.csv"))] = str(flawed / "lists/train.csv")
    assert f"1 of the 2 videos to validate on are learned from too, such as {flawed / '3.mp4'}: " in said(capsys, words)


MISTAKES = {
    "--exclude missing.csv": "missing.csv: no such file; give a CSV with the columns path",
    "--exclude train.txt": "columns nothing; its first line must be path, and may name more; correct it",
    "--exclude other.csv": "none of its 1 paths is in",
    "--exclude all.csv": "leaves no video of",
    "--reverse": "--reverse: no pairs of classes; write them to reversal_pairs.csv",
    "--reversal-pairs a=z": "reversal pair 'a=z'; give two classes",
    "--balanced --class-weights": "both even out the classes; leave one of them out",
    "--ema 1": "--ema 1.0; it is a share from 0 up to, not including, 1",
    "--mixup -1": "--mixup -1.0; it must be 0 or more",
    "--rand-augment 31": "--rand-augment 31; it must be from 0 to 30",
    "--smallest-crop 0.5": "--smallest-crop 0.5; it must be from 0.66",
    "--gates-lr 0": "--gates-lr 0.0; it must be above 0 and finite",
    "--layer-decay 0": "--layer-decay 0.0; it must be above 0 and at most 1",
    "--freeze-epochs 2": "--freeze-epochs 2 of --epochs 2",
    "--gates-warmup-epochs 3": "--gates-warmup-epochs 3 of --epochs 2",
    "--drop-path 1": " 1.0; it must be a probability from 0 up to, not including, 1",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_a_switch_that_cannot_be_used_says_why(
    options: str, flawed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(flawed)
    (flawed / "train.txt").write_text("nothing\n")
    (flawed / "other.csv").write_text("path\nelsewhere.mp4\n")
    (flawed / "all.csv").write_text("path\n" + "".join(f"{number}.mp4\n" for number in range(6)))
    with pytest.raises(SystemExit):
        main(start(flawed, flawed / "run", "--epochs", 2, *options.split()))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gateshift:")]
    assert len(lines) == 1
    assert MISTAKES[options] in lines[0]
    assert not (flawed / "run").exists()


def test_resuming_with_other_reversed_classes_is_refused(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(clips, folder := tmp_path / "clips")
    names = (folder / "classes.txt").read_text().splitlines()
    (folder / "reversal_pairs.csv").write_text(f"class,reversed\n{names[0]},{names[1]}\n")
    words = start(folder, tmp_path / "run", "--epochs", 1, "--reverse")
    assert f"clips played backwards; classes that swap: {names[0]} = {names[1]}" in said(capsys, words)
    (folder / "reversal_pairs.csv").write_text(f"class,reversed\n{names[0]},{names[2]}\n")
    with pytest.raises(SystemExit):
        main([*words, "--resume"])
    assert "--resume with reversed_classes" in capsys.readouterr().err


def test_the_document_of_the_switches_names_options_that_there_are() -> None:
    groups = (TrainSettings, ModelOptions, OptimOptions, AugmentOptions, SkewOptions)
    known = {f"--{field.name.replace('_', '-')}" for group in groups for field in dataclasses.fields(group)}
    text = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
    named = set(re.findall(r"--[a-z][a-z-]+", text)) - {"--help"}
    assert named <= known
    switches = {word for word in EVERYTHING.split() if word.startswith("--")} - {"--lr", "--accumulate"}
    assert switches <= named
    (command,) = re.findall(r"^gateshift (train .*)$", text, re.MULTILINE)
    parse(command.split()).check()


def test_a_recipe_can_turn_the_switches_on(tmp_path: Path) -> None:
    text = '[model]\ndrop_path = 0.1\n[optim]\nschedule = "one-cycle"\n[augment]\nreverse = true\n'
    (tmp_path / "own.toml").write_text(text + "[skew]\nbalanced = true\nfocal_gamma = 2.0\n")
    (words,) = put_recipe(["train", "a", "b", "--out", "c", "--recipe", str(tmp_path / "own.toml")]).values()
    settings = parse(words)
    assert (settings.model.drop_path, settings.optim.schedule, settings.augment.reverse) == (0.1, "one-cycle", True)
    assert (settings.skew.balanced, settings.skew.focal_gamma) == (True, 2.0)
