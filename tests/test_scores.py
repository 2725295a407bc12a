"""Accuracies, score files and ensembles."""

import json
from pathlib import Path

import numpy as np
import pytest
from golden_data import GOLDEN
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from gateshift.errors import ScoresError, SettingsError
from gateshift.evaluation.metrics import Metrics, confusion, pair_accuracy
from gateshift.evaluation.scores import Scores, average, check_output, load_scores, save_scores


def random_scores(seed: int, videos: int = 20, classes: int = 6) -> Scores:
    rng = np.random.default_rng(seed)
    return Scores(
        tuple(f"video {index}" for index in range(videos)),
        np.arange(videos) % classes,
        rng.normal(size=(videos, classes)).astype(np.float32),
        tuple("abcdefghij"[:classes]),
        "8 segments × 1 clips × 1 crops",
    )


def shuffled(scores: Scores, seed: int) -> Scores:
    """The same scores with videos and classes in another order."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(scores.ids)), rng.permutation(len(scores.classes))
    return Scores(
        tuple(scores.ids[row] for row in rows),
        np.argsort(columns)[scores.labels[rows]],
        scores.logits[np.ix_(rows, columns)],
        tuple(scores.classes[column] for column in columns),
        scores.protocol,
    )


@pytest.mark.parametrize(("seed", "classes"), [(0, 6), (1, 7), (2, 10)])
def test_accuracies_are_those_of_scikit_learn(seed: int, classes: int) -> None:
    scores = random_scores(seed, 37, classes)
    found, names = scores.metrics(), np.arange(classes)
    assert found.top1 == pytest.approx(top_k_accuracy_score(scores.labels, scores.logits, k=1, labels=names))
    assert found.top5 == pytest.approx(top_k_accuracy_score(scores.labels, scores.logits, k=5, labels=names))
    assert found.mean_class == pytest.approx(balanced_accuracy_score(scores.labels, scores.logits.argmax(1)))


def test_accuracies_by_hand() -> None:
    logits = np.array([[2, 1, 0], [2, 1, 0], [0, 1, 2], [2, 1, 0]], np.float32)
    metrics = Metrics.of(logits, np.array([0, 0, 2, 2]))
    assert (metrics.top1, metrics.top5, metrics.mean_class, metrics.num_videos) == (0.75, 1.0, 0.75, 4)
    assert str(metrics) == "top-1 75.00%, top-5 100.00%, mean class accuracy 75.00%, 4 videos"
    assert confusion(logits, np.array([0, 0, 2, 2])).tolist() == [[2, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert pair_accuracy(logits, np.array([0, 0, 2, 2]), np.array([2, 1, 0])) == 0.75


def test_the_golden_ensemble_has_the_published_accuracies() -> None:
    golden = np.load(GOLDEN / "ensemble.npz")
    parts = [
        Scores(tuple(map(str, range(200))), golden["labels"], logits, tuple(map(str, range(48))), "golden")
        for logits in golden["scores"][:, :, 0]
    ]
    metrics = average(parts).metrics()
    assert 100 * metrics.top1 == pytest.approx(float(golden["top1"]))
    assert 100 * metrics.top5 == pytest.approx(float(golden["top5"]))


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_videos_and_classes_does_not_matter(seed: int) -> None:
    first, second = random_scores(seed), random_scores(seed + 1)
    plain, mixed = average([first, second]), average([first, shuffled(second, seed)])
    assert plain.ids == mixed.ids
    np.testing.assert_allclose(plain.logits, mixed.logits)
    np.testing.assert_allclose(plain.logits, (first.logits + second.logits) / 2, rtol=1e-6)


def change(scores: Scores, **fields: object) -> Scores:
    return Scores(**{name: fields.get(name, getattr(scores, name)) for name in scores.__dataclass_fields__})


def test_scores_of_different_videos_labels_or_classes_are_refused() -> None:
    scores = random_scores(0)
    other_ids = ("another", *scores.ids[1:])
    with pytest.raises(ScoresError, match="of different videos: 2 are in one alone, such as another"):
        average([scores, change(scores, ids=other_ids)])
    # class 0 alone differs: a check of sums would not see it
    other_labels = np.where(scores.labels == 0, 1, scores.labels)
    with pytest.raises(ScoresError, match="different labels for the same videos"):
        average([scores, change(scores, labels=other_labels)])
    with pytest.raises(ScoresError, match="or other names"):
        average([scores, change(scores, classes=("z", *scores.classes[1:]))])


def test_save_then_load_keeps_everything(tmp_path: Path) -> None:
    scores = random_scores(1)
    save_scores(scores, tmp_path / "a.npz")
    loaded = load_scores(tmp_path / "a.npz")
    assert (loaded.ids, loaded.classes, loaded.protocol) == (scores.ids, scores.classes, scores.protocol)
    np.testing.assert_array_equal(loaded.logits, scores.logits)
    np.testing.assert_array_equal(loaded.labels, scores.labels)
    summary = json.loads((tmp_path / "a.json").read_text())
    assert summary == {"protocol": scores.protocol, **scores.metrics().to_dict(), "scores": "a.npz"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.npz"]


def test_a_file_that_is_no_scores_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(ScoresError, match="no such scores file; write one by a test with `scores="):
        load_scores(path)
    save_scores(random_scores(1), path)
    whole = path.read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ScoresError, match="not a whole scores file"):
            load_scores(path)
    np.savez(path, ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ScoresError, match="not a whole scores file"):
        load_scores(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": np.zeros(3, np.int64)}, "do not fit each other"),
        ({"labels": np.full(20, 6)}, r"labels 6..6 of 6 classes"),
        ({"ids": ("twice",) * 20}, "stands twice"),
        ({"logits": np.full((20, 6), np.nan, np.float32)}, "not a finite number"),
    ],
)
def test_scores_that_cannot_be_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ScoresError, match=message):
        change(random_scores(0), **fields)


def test_an_output_is_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    with pytest.raises(SettingsError, match="a.npz exists; choose another name, or add "):
        check_output(tmp_path / "a.npz", overwrite=False)
    check_output(tmp_path / "a.npz", overwrite=True)
    (tmp_path / "settings.json").touch()
    with pytest.raises(SettingsError, match="settings.json exists"):
        check_output(tmp_path / "settings.npz", overwrite=False)
    with pytest.raises(SettingsError, match="a.csv; its name must end with .npz; rename it"):
        check_output(tmp_path / "a.csv", overwrite=False)
    with pytest.raises(SettingsError, match="no folder"):
        check_output(tmp_path / "nowhere" / "a.npz", overwrite=False)
