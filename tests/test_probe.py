"""The probe: features of a frozen network, and a linear classifier on them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close
from trainings import Log, train_small

import gateshift as gs
from gateshift.data.lists.manifest import read_manifest
from gateshift.data.video.files import open_video
from gateshift.errors import ManifestError, SettingsError, VideoError
from gateshift.probing.features import clip_features, over_time
from gateshift.probing.probe import (
    DRAWS,
    draw_clips,
    fit_classifier,
    fit_probe,
    held_out_accuracy,
    labelled_features,
)
from gateshift.probing.report import load_probe, save_probe
from gateshift.training.run_folder import RunFolder


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_clip_played_backwards_has_the_same_mean_and_change_and_the_opposite_movement(
    num_frames: int, num_features: int, seed: int
) -> None:
    frames = torch.randn(2, num_frames, num_features, generator=torch.Generator().manual_seed(seed))
    mean, change, movement = over_time(frames).chunk(3, dim=1)
    for one, other in zip(over_time(frames.flip(1)).chunk(3, dim=1), (mean, change, -movement), strict=True):
        assert_close(one, other)
    steps = [sum(abs(float(a - b)) for a, b in itertools.pairwise(row)) for row in frames[0].T]
    assert_close(change[0], torch.tensor(steps) / max(num_frames - 1, 1))


def test_features_are_those_of_the_videos_that_can_be_read_and_leave_the_network_as_it_is(
    clips: Path, tmp_path: Path
) -> None:
    rows = (clips / "val.csv").read_text().splitlines()
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "list.csv").write_text(
        "\n".join([rows[0], f"{clips / rows[1]}", "bad.mp4,x", f"{clips / rows[2]}"]) + "\n"
    )
    model = gs.create_model("test_resnet", "gsm", num_classes=2, size_px=32).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    videos = read_manifest(tmp_path / "list.csv")
    found, read = clip_features(model, videos, [0, 1, 2], num_segments=4, batch_size=2, workers=0)
    assert read == [0, 2]
    with open_video(videos.entries[2].path) as video:
        clip = model.transform(video.read(range(video.num_frames)).permute(0, 2, 3, 1).numpy(), segments=4)
    with torch.no_grad():
        own = over_time(model.frame_features(clip[None]).unflatten(0, (1, 4)))
    assert_close(torch.from_numpy(found[1:]), own, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(VideoError, match="bad.mp4"):
        clip_features(model, videos, [1], num_segments=4, batch_size=2, workers=0)


def drawn_features(classes: int, per_class: int, *, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Features [classes * per_class, 40] in which each class has one that stands out."""
    labels = np.repeat(np.arange(classes), per_class)
    features = noise * np.random.default_rng(seed).standard_normal((len(labels), 40)) + np.eye(40)[labels]
    return features.astype(np.float32), labels


@pytest.mark.slow
def test_accuracy_rises_with_clips_to_that_of_all_of_them() -> None:
    learned, tested = (drawn_features(4, count, seed=seed, noise=0.3) for count, seed in ((24, 0), (50, 1)))
    found = fit_probe(learned, tested, classes=["a", "b", "c", "d"])
    assert [point.per_class for point in found.curve] == [1, 2, 5, 10, 20, 24]
    accuracies = [point.accuracy for point in found.curve]
    assert accuracies[0] < 0.6 < 0.85 < accuracies[-1] == found.accuracy
    assert all(later > earlier - 0.05 for earlier, later in itertools.pairwise(accuracies))
    assert all(point.spread > 0 for point in found.curve[:3])
    assert found.curve[-1].spread == 0
    assert fit_probe(learned, tested, classes=["a", "b", "c", "d"]) == found


def test_the_class_that_its_clips_do_not_cover_needs_clips_most() -> None:
    """Class a is seen in eight ways, one in each clip; half of them are not enough to know the others."""
    ways, places = np.eye(40)[np.arange(8)], np.eye(40)[np.full(8, 20)]
    learned = np.concatenate([ways, places]).astype(np.float32), np.repeat([0, 1], 8)
    found = fit_probe(learned, learned, classes=["a", "b"])
    assert [need.name for need in found.classes] == ["a", "b"]
    first, second = found.classes
    assert first.recall == second.recall == second.recall_half == 1 > first.recall_half
    with pytest.raises(SettingsError, match="at least two classes"):
        fit_probe((learned[0][:8], learned[1][:8]), learned, classes=["a", "b"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_as_many_clips_of_each_class_are_drawn_as_are_wanted_and_there(labels: list[int], wanted: list[int]) -> None:
    all_labels = np.array(labels)
    kept = draw_clips(all_labels, np.array(wanted), np.random.default_rng(0))
    assert len(set(kept.tolist())) == len(kept)
    counts = np.bincount(all_labels[kept], minlength=4)
    assert counts.tolist() == np.minimum(np.bincount(all_labels, minlength=4), wanted).tolist()


@pytest.mark.slow
def test_videos_are_probed_by_one_call(clips: Path, tmp_path: Path) -> None:
    options = {"backbone": "test_resnet", "weights": None, "size": 32, "segments": 4, "workers": 0}
    torch.manual_seed(0)
    found = gs.probe(clips / "train.csv", clips / "val.csv", **options)  # type: ignore[arg-type]
    assert isinstance(found, gs.ProbeResult)
    assert found.num_videos == 10
    assert found.accuracy == found.curve[-1].accuracy in [count / 10 for count in range(11)]
    torch.manual_seed(0)
    own = gs.probe(clips / "train.csv", clips / "train.csv", **options)  # type: ignore[arg-type]
    assert own.accuracy == 1.0  # what was learned is known
    assert f"{found.accuracy:.1%} of 10 videos" in str(found)
    gs.save_model(gs.create_model("test_resnet", "gsm", num_classes=2), tmp_path / "trained.safetensors")
    started = {**options, "temporal": "gsm", "start": tmp_path / "trained.safetensors"}
    assert gs.probe(clips / "train.csv", clips / "train.csv", **started).accuracy == 1.0  # type: ignore[arg-type]
    save_probe(found, tmp_path / "probe.json")
    assert load_probe(tmp_path / "probe.json") == found
    assert (tmp_path / "probe.png").stat().st_size > 1000
    assert load_probe(tmp_path / "none.json") is None
    assert DRAWS > 1


@pytest.mark.slow
def test_a_training_with_a_probe_ends_with_the_weights_of_one_without(clips: Path, tmp_path: Path) -> None:
    log = Log()
    probed = train_small(clips, tmp_path / "probed", log, probe=True)
    plain = train_small(clips, tmp_path / "plain")
    assert (probed.folder / "last.safetensors").read_bytes() == (plain.folder / "last.safetensors").read_bytes()
    assert not RunFolder(plain.folder).probe.exists()
    assert any(line.startswith("before the training, a linear classifier") for line in log.lines)
    with pytest.raises(SettingsError, match="`probe` with `multi_label`"):
        train_small(clips, tmp_path / "several", probe=True, multi_label=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_network_s_classifier_calls_frozen_features_as_the_probe_does(classes: int) -> None:
    means, labels = drawn_features(classes, 12, seed=0, noise=0.3)
    means = 7 * means + 3  # as features are: neither centred nor of one size
    classifier = torch.nn.Linear(40, classes + 1)
    fit_classifier(classifier, (np.concatenate([means, means, means], 1), labels))
    logits = classifier(torch.from_numpy(means)).detach().numpy()
    assert (logits.argmax(1) == labels).all()
    center, scale = means.mean(0), means.std(0)
    slow = LogisticRegression(C=0.1, tol=1e-8, max_iter=9999).fit((means - center) / scale, labels)
    expected = slow.predict_log_proba((means - center) / scale)
    found = torch.from_numpy(logits)[:, :classes].log_softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert (logits[:, classes] == 0).all()  # of no clip
    with pytest.raises(SettingsError, match="at least two classes"):
        fit_classifier(classifier, (means, np.zeros_like(labels)))


@pytest.mark.slow
def test_a_training_begins_with_the_classifier_of_its_features(clips: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    videos = read_manifest(clips / "train.csv")
    start = gs.create_model("test_resnet", "gsm", classes=videos.class_names(), size_px=32).eval()
    gs.save_model(start, tmp_path / "start.safetensors")
    run = train_small(clips, tmp_path / "run", start=tmp_path / "start.safetensors", fit_classifier=True, lr=1e-12)
    learned = labelled_features(start, videos, num_segments=2, batch_size=4, workers=0)
    fit_classifier(start.head, learned)  # type: ignore[arg-type]  # it is linear
    means = torch.from_numpy(learned[0][:, : start.head.in_features])
    own, begun = (head(means).softmax(1).detach() for head in (start.head, run.model.head))
    assert_close(begun, own, rtol=0, atol=0.02)
    assert (own.argmax(1).numpy() == learned[1]).all()
    with pytest.raises(SettingsError, match="`fit_classifier` with `multi_label`"):
        train_small(clips, tmp_path / "several", fit_classifier=True, multi_label=True)


def test_lists_that_do_not_agree_are_refused(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text(f"path,label\n{clips / 'val' / 'cover' / '0000.mp4'},fly\n")
    with pytest.raises(ManifestError, match="fly"):
        gs.probe(clips / "train.csv", tmp_path / "val.csv", backbone="test_resnet", weights=None)


def test_held_out_videos_are_known_where_features_tell_the_classes_apart_and_guessed_where_not() -> None:
    draw, labels = np.random.default_rng(0), np.arange(60) % 3
    noise = draw.normal(size=(60, 8)).astype(np.float32)
    told = noise + 20 * np.eye(3, 8, dtype=np.float32)[labels]
    assert held_out_accuracy((told, labels)) == 1
    assert held_out_accuracy((noise, labels)) < 0.6
    assert held_out_accuracy((noise[:3], labels[:3])) == 0  # each is the only one of its class
    assert held_out_accuracy((noise[::3], labels[::3])) == 0  # one class
