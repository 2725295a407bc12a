"""Videos with several labels, or none: lists, clips, loss, measures, and a whole run of the command line."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WriteVideo
from hypothesis import given
from hypothesis import strategies as st

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.dataset import Augmentation
from gateshift.data.clips.mixing import Mixing
from gateshift.data.lists.class_pairs import Pairs, may_mirror, mirror_map, reversal_map
from gateshift.data.lists.manifest import read_manifest
from gateshift.errors import GateShiftError, ManifestError, ScoresError, SettingsError
from gateshift.evaluation.metrics import MultiLabelMetrics
from gateshift.evaluation.scores import Scores, average, load_scores, save_scores
from gateshift.prediction.timeline import merge_windows
from gateshift.prediction.windows import Thresholds
from gateshift.recipes.options import AugmentOptions
from gateshift.training.inputs import create_augmentation
from gateshift.training.losses import Loss
from gateshift.training.train import train

CLASSES = ("left", "right", "wave")


def write_list(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["path,label", *rows]) + "\n")
    return path


def test_a_label_is_a_set_of_classes(tmp_path: Path) -> None:
    source = write_list(tmp_path / "list.csv", "a.mp4,wave; left", "b.mp4,", "c.mp4,right;right", "d.mp4, wave;left;")
    manifest = read_manifest(source, multi_label=True)
    assert manifest.class_names() == ["left", "right", "wave"]
    assert manifest.targets(CLASSES).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert manifest.without(["a.mp4"]).targets(["wave", "right", "left"]).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_lists_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    source = write_list(tmp_path / "list.csv", "a.mp4,wave;jump", "b.mp4,")
    with pytest.raises(ManifestError, match="'jump' of a.mp4 is none of the 3 classes"):
        read_manifest(source, multi_label=True).targets(CLASSES)
    with pytest.raises(
        ManifestError, match="line 3: path 'b.mp4' and label ''; give both; only with `multi_label=True`"
    ):
        read_manifest(source)
    with pytest.raises(ManifestError, match="no video has a label; label some"):
        read_manifest(write_list(tmp_path / "none.csv", "a.mp4,"), multi_label=True).targets(CLASSES)
    with pytest.raises(ManifestError, match="line 3: 1 fields for 2 columns; give each column one"):
        read_manifest(write_list(tmp_path / "cut.csv", "a.mp4,wave", "b.mp4"), multi_label=True)
    long = write_list(tmp_path / "long.csv", "a.mp4,wave", "b.mp4,", "a.mp4,left")
    with pytest.raises(ManifestError, match="a.mp4 is listed as .*; several labels of one video go in one row"):
        read_manifest(long, multi_label=True).targets(CLASSES)
    (tmp_path / "list.txt").write_text("a 10 0\n")
    with pytest.raises(ManifestError, match=r"list.txt: several labels per video need a CSV"):
        read_manifest(tmp_path / "list.txt", multi_label=True)


def test_videos_that_were_left_out_have_no_say(tmp_path: Path) -> None:
    source = write_list(tmp_path / "list.csv", "a.mp4,jump", "b.mp4,", "c.mp4,wave")
    manifest = read_manifest(source, multi_label=True)
    assert manifest.without(["a.mp4"]).targets(CLASSES).tolist() == [[0, 0, 0], [0, 0, 1]]
    with pytest.raises(ManifestError, match="no video has a label"):
        manifest.without(["a.mp4", "c.mp4"]).targets(CLASSES)
    single = read_manifest(write_list(tmp_path / "single.csv", "a.mp4,jump", "c.mp4,wave"))
    assert single.without(["a.mp4"]).targets(CLASSES).tolist() == [2]


def test_a_class_has_no_semicolon(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("wave\nopen;close\n")
    source = write_list(tmp_path / "list.csv", "a.mp4,wave")
    with pytest.raises(ManifestError, match="a name with a semicolon"):
        read_manifest(source, multi_label=True).class_names()
    assert read_manifest(source).class_names() == ["wave", "open;close"]


def test_what_a_list_does_not_say_is_not_made_wrong() -> None:
    def rule(classes: tuple[str, ...], pairs: Pairs, backwards: Pairs = ()) -> Augmentation:
        model = gs.create_model("test_resnet", classes=list(classes), size_px=32, num_segments=4)
        config = dataclasses.replace(model.config, mirror_pairs=pairs, multi_label=True)
        return create_augmentation(AugmentOptions(), config, backwards, num_segments=4)

    # A turn to the right has no label, and mirrored would be one to the left that is said to be none.
    assert not rule(("turn left", "wave"), ()).may_mirror.any()
    assert rule(CLASSES, (("left", "right"),)).may_mirror.all()
    with pytest.raises(SettingsError, match="'wave' is in no reversal pair"):
        rule(CLASSES, (), (("left", "right"),))
    assert rule(CLASSES, (), (("left", "right"), ("wave", "wave"))).reversal_map is not None


sets = st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3).map(torch.tensor)


@pytest.mark.slow
@given(sets, st.integers(0, 2**31), st.sampled_from(["all", "pairs", "none"]))
def test_a_clip_is_mirrored_or_reversed_as_all_of_its_labels_allow(
    label: torch.Tensor, seed: int, mirroring: str
) -> None:
    pairs = (("left", "right"),)
    rule = Augmentation(
        size_px=4,
        num_segments=2,
        mirror_map=mirror_map(CLASSES, pairs),
        may_mirror=may_mirror(CLASSES, pairs, mirroring),
        reversal_map=reversal_map(CLASSES, pairs),
    )
    ramp = torch.arange(4, dtype=torch.uint8)  # brighter to the right and later
    frames = (20 * ramp.view(1, 1, 1, 4) + 100 * ramp[:2].view(2, 1, 1, 1)).expand(2, 3, 4, 4)
    clip, turned = rule(frames, label, generator=torch.Generator().manual_seed(seed))
    mirrored = bool(clip[0, 0, 0, 0] > clip[0, 0, 0, -1])
    backwards = bool(clip[0].float().mean() > clip[1].float().mean())
    swapped = label[[1, 0, 2]]
    assert torch.equal(turned, swapped if mirrored != backwards else label)
    if mirroring == "none" or (mirroring == "pairs" and label[2]) or not label.any():
        assert not mirrored
    if label[2] or not label.any():
        assert not backwards


def test_both_happen() -> None:
    rule = Augmentation(4, 2, torch.arange(3), torch.ones(3, dtype=torch.bool), reversal_map=torch.arange(3))
    frames = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    for label in (torch.tensor([1.0, 0, 1]), torch.tensor([0.0, 1, 0])):
        found = [rule(frames, label, generator=torch.Generator().manual_seed(seed))[0] for seed in range(60)]
        assert {bool(clip[0].float().mean() > clip[1].float().mean()) for clip in found} == {False, True}
        assert {bool(clip[0, 0, 0, 0] > clip[0, 0, 0, -1]) for clip in found} == {False, True}


def test_mixed_clips_have_the_share_of_each_label() -> None:
    clips = torch.randint(0, 256, (2, 2, 3, 8, 8), dtype=torch.uint8)
    labels = torch.tensor([[1.0, 1, 0], [0, 1, 0]])
    for mixing in (Mixing(3, mixup=1.0), Mixing(3, cutmix=1.0)):
        _, shares = mixing.mix(clips, labels, epoch=0, batch=1)
        assert shares[:, 1].tolist() == pytest.approx([1, 1])
        assert shares[:, 2].tolist() == [0, 0]
        assert float(shares[0, 0] + shares[1, 0]) == pytest.approx(1)


@pytest.mark.parametrize(("smoothing", "gamma"), [(0.0, 0.0), (0.2, 0.0), (0.0, 2.0), (0.2, 2.0)])
def test_the_loss_is_the_sum_of_a_yes_or_no_for_each_class(smoothing: float, gamma: float) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 3, dtype=torch.float64), torch.randint(0, 2, (4, 3)).double()
    total = 0.0
    for row, answers in zip(logits.sigmoid().tolist(), targets.tolist(), strict=True):
        for said, answer in zip(row, answers, strict=True):
            wanted = answer * (1 - smoothing) + smoothing / 2
            total -= wanted * (1 - said) ** gamma * np.log(said) + (1 - wanted) * said**gamma * np.log(1 - said)
    loss = Loss(smoothing, gamma, multi_label=True)
    assert float(loss(logits, targets)) == pytest.approx(total / 4, rel=1e-9)
    assert float(loss.num_correct(torch.tensor([[1.0, -1, 2]]), torch.tensor([[1.0, 0, 0]]))) == pytest.approx(2 / 3)


def slow_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    order = np.argsort(-scores)
    found, total = 0, 0.0
    for rank, place in enumerate(order, start=1):
        if labels[place]:
            found += 1
            total += found / rank
    return total / found


def test_measures_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 2, (40, 4))
    labels[:, 3] = 0  # never occurs
    found = MultiLabelMetrics.of(logits, labels)
    expected = np.mean([slow_average_precision(logits[:, k], labels[:, k]) for k in range(3)])
    assert found.mean_ap == pytest.approx(expected)
    said = logits > 0
    precision, recall = (said & (labels > 0)).sum() / said.sum(), (said & (labels > 0)).sum() / labels.sum()
    assert found.f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_scores_are_kept_and_averaged_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(5, 3)).astype(np.float32), rng.integers(0, 2, (5, 3))
    labels[0] = [1, 0, 1]
    first = Scores(tuple("abcde"), labels, logits, CLASSES, "one view")
    save_scores(first, tmp_path / "a.npz")
    again = load_scores(tmp_path / "a.npz")
    assert again.multi_label
    assert np.array_equal(again.labels, labels)
    assert json.loads((tmp_path / "a.json").read_text())["mean_ap"] == first.metrics().accuracies()["mean_ap"]
    rows, columns = [3, 1, 0, 4, 2], [2, 0, 1]
    other = Scores(
        tuple("abcde"[row] for row in rows),
        labels[np.ix_(rows, columns)],
        logits[np.ix_(rows, columns)],
        tuple(CLASSES[column] for column in columns),
        "one view",
    )
    np.testing.assert_allclose(average([first, other]).logits, logits, rtol=1e-6)
    wrong = Scores(tuple("abcde"), 1 - labels, logits, CLASSES, "one view")
    single = Scores(tuple("abcde"), labels[:, 0], logits, CLASSES, "one view")
    for each in (wrong, single):
        with pytest.raises(ScoresError, match="different labels"):
            average([first, each])
    with pytest.raises(ScoresError, match=r"labels 0[.][.]2"):
        Scores(tuple("abcde"), 2 * labels, logits, CLASSES, "one view")


def test_segments_of_several_classes_overlap_where_each_is_for_itself() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.8], [0.2, 0.8], [0.1, 0.1]])
    windows = [range(start, start + 2) for start in range(0, 8, 2)]
    found = {
        apart: [
            (segment.label, segment.start_s, segment.end_s)
            for segment in merge_windows(
                probabilities, windows, list(range(9)), ("a", "b"), thresholds=Thresholds(0.5, 0.4), apart=apart
            )
        ]
        for apart in (False, True)
    }
    assert found[True] == [("a", 0, 4), ("b", 2, 6)]
    assert found[False] == [("a", 0, 4), ("b", 4, 6)]


def scene(labels: tuple[str, ...], seed: int) -> np.ndarray:
    """Grey noise [12, 48, 48, 3] in which "rise" brightens the left half over time and "fall" darkens the right."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(100, 140, (12, 48, 48, 3))
    change = np.linspace(0, 90, 12)[:, None, None, None]
    if "rise" in labels:
        frames[:, :, :24] = frames[:, :, :24] + change
    if "fall" in labels:
        frames[:, :, 24:] = frames[:, :, 24:] - change
    return frames.astype(np.uint8)


SETS = ((), ("rise",), ("fall",), ("fall", "rise"))


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> Path:
    folder = tmp_path_factory.mktemp("several")
    for name, count in (("train", 10), ("val", 4)):
        rows = []
        for number in range(count * len(SETS)):
            labels = SETS[number % len(SETS)]
            write_video(folder / f"{name}{number}.mp4", scene(labels, len(name) * 1000 + number))
            rows.append(f"{name}{number}.mp4,{';'.join(labels)}")
        write_list(folder / f"{name}.csv", *rows)
    return folder


@pytest.mark.slow
def test_from_a_list_to_labels_on_the_command_line(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--backbone test_resnet --temporal none --size 32 --segments 4 --epochs 8 --warmup-epochs 1 --workers 0"
    words += " --recipe papers"
    words += " --schedule cosine-step --optimizer adamw --lr 0.004 --mirror none --dropout 0 --validate-every 8"
    train, val, run = str(lists / "train.csv"), str(lists / "val.csv"), tmp_path / "run"
    main(["train", train, val, "--out", str(run), "--multi-label", *words.split()])
    assert "validation mAP" in capsys.readouterr().err
    page = (run / "training.html").read_text()
    assert '<td>fall</td>\n<td class="number">20</td>\n<td class="number">8</td>' in page
    model = run / "best.safetensors"
    main(["test", str(model), val, "--scores", str(tmp_path / "s.npz"), "--workers", "0"])
    assert "mAP" in capsys.readouterr().out
    metrics = load_scores(tmp_path / "s.npz").metrics()
    assert isinstance(metrics, MultiLabelMetrics)
    assert min(metrics.mean_ap, metrics.f1) > 0.9
    main(["export", str(model), val, "--format", "torch", "--workers", "0"])
    assert "same labels on 100.00% of 16 videos" in capsys.readouterr().out
    right = 0
    for path in (model, model.with_suffix(".pt2")):
        main(["predict", str(path), *(str(lists / f"val{number}.mp4") for number in range(8)), "--json", "--top", "1"])
        for number, line in enumerate(capsys.readouterr().out.splitlines()):
            record = json.loads(line)
            right += sorted(record["labels"]) == sorted(SETS[number % 4])
            assert record["label"] == (record["labels"][0] if record["labels"] else None)
            assert len(record["top"]) == 1
    assert right >= 14  # of 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multi_label": True, "balanced": True}, "`multi_label` and `balanced`, which needs one class per video"),
        ({"multi_label": True, "class_weights": True}, "`multi_label` and `class_weights`, which needs one class"),
        ({}, "give both"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    lists: Path, tmp_path: Path, options: dict[str, bool], message: str
) -> None:
    with pytest.raises(GateShiftError, match=message) as raised:
        train(lists / "train.csv", lists / "val.csv", out=tmp_path / "run", **options)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.slow
def test_a_model_of_several_labels_has_no_report_and_an_unread_video_no_labels(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = gs.create_model("test_resnet", classes=["fall", "rise"], size_px=32, num_segments=4, multi_label=True)
    gs.save_model(model, tmp_path / "m.safetensors")
    for words in (["--report", str(tmp_path / "r.html")], ["--fit-threshold", "0.9"]):
        with pytest.raises(SystemExit) as stopped:
            main(["test", str(tmp_path / "m.safetensors"), str(lists / "val.csv"), *words])
        assert stopped.value.code == 2
        assert "a model of several labels a video" in capsys.readouterr().err
    for name in ("8x2", "12x2", "16", "24"):
        gs.save_model(model, tmp_path / f"gsm-inceptionv3-{name}.safetensors")
    words = ["--recipe", "gsm-inceptionv3-ensemble", "--root", str(lists), "--workers", "0"]
    with pytest.raises(SystemExit) as stopped:
        main(["test", str(tmp_path), str(write_list(tmp_path / "one.csv", "val1.mp4,rise")), *words])
    assert stopped.value.code == 2
    assert "average them by gateshift ensemble" in capsys.readouterr().err
    main(["test", str(tmp_path / "m.safetensors"), str(lists / "val.csv"), "--scores", str(tmp_path / "s.npz")])
    with pytest.raises(SystemExit):
        main(["test", str(tmp_path / "m.safetensors"), str(lists / "val.csv"), "--compare", str(tmp_path / "s.npz")])
    assert "scores of several labels a video" in capsys.readouterr().err
    with torch.no_grad():
        model.head.bias.fill_(-9)
    gs.save_model(model, tmp_path / "none.safetensors")
    main(["predict", str(tmp_path / "none.safetensors"), str(lists / "val0.mp4"), "--top", "1"])
    assert "none" in capsys.readouterr().out
    (tmp_path / "bad.mp4").write_bytes(b"")
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "bad.mp4"), "--json"])
    record = json.loads(capsys.readouterr().out)
    assert (record["label"], record["labels"], record["top"]) == (None, [], [])


@pytest.mark.slow
def test_lists_whose_labels_are_not_used_may_have_any(lists: Path, tmp_path: Path) -> None:
    model = gs.create_model("test_resnet", classes=["a", "b"], size_px=32, num_segments=4)
    gs.save_model(model, tmp_path / "m.safetensors")
    main(["explain", str(tmp_path / "m.safetensors"), "--list", str(lists / "val.csv"), "--out", str(tmp_path / "e")])
    assert (tmp_path / "e").is_dir()
    main(["scan", str(lists / "val.csv"), "--out", str(tmp_path / "bad.csv")])
