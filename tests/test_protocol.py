"""The papers' protocol through the command line, against views cut and averaged by hand."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from golden_data import released_state, write_checkpoint

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.lists.class_pairs import find_mirror_pairs
from gateshift.evaluation.scores import Scores, load_scores, save_scores
from gateshift.recipes.recipe import load_recipe

SEGMENTS = 4
SIZE_PX = 32  # frames of 36 px are then not resized, so that a view can be cut by hand
CROPS = [(0, 0), (16, 0), (0, 4), (16, 4), (8, 2)]  # (left, top) in 48 x 36 px: corners, then the centre


@pytest.fixture(scope="module")
def model_file(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for the clips, which are of 48 x 36 px."""
    classes = (clips / "classes.txt").read_text().splitlines()
    torch.manual_seed(0)
    pairs = find_mirror_pairs(classes)
    model = gs.create_model("test_resnet", classes=classes, size_px=SIZE_PX, num_segments=SEGMENTS, mirror_pairs=pairs)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("protocol") / "model.safetensors"
    gs.save_model(model.eval(), path)
    return path


def views_by_hand(path: Path) -> torch.Tensor:
    """The 2 x 10 views of a video: [20, T, 3, 32, 32], as the release takes them."""
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    tick = len(frames) / SEGMENTS
    views = []
    for start in (0, tick / 2):
        clip = frames[[int(tick * segment + start) for segment in range(SEGMENTS)]]  # [T, 36, 48, 3]
        for left, top in CROPS:
            view = clip[:, top : top + SIZE_PX, left : left + SIZE_PX]
            views += [view, view[:, :, ::-1]]
    return torch.from_numpy(np.stack(views)).permute(0, 1, 4, 2, 3)


@pytest.mark.slow
def test_two_clips_of_ten_crops_are_the_mean_of_views_cut_by_hand(
    model_file: Path, clips: Path, tmp_path: Path
) -> None:
    listed, scores = clips / "val.csv", tmp_path / "scores.npz"
    options = ["--clips", "2", "--crops", "10", "--workers", "0", "--scores", str(scores)]
    main(["test", str(model_file), str(listed), *options])
    found = load_scores(scores)
    assert found.protocol == "4 segments × 2 clips × 10 crops"
    model = gs.load_model(model_file)
    names = [name.replace("left", "L").replace("right", "left").replace("L", "right") for name in model.classes]
    names = [name.replace("counterclockwise", "C").replace("clockwise", "counterclockwise") for name in names]
    names = [name.replace("C", "clockwise") for name in names]
    swapped = [model.classes.index(name) for name in names]  # what each class is in a mirror
    assert swapped != list(range(len(swapped))), "no class swaps: the test would not see it"
    for video, logits in zip(found.ids, found.logits, strict=True):
        with torch.no_grad():
            each = model(views_by_hand(clips / video))  # [20, K]
        each[1::2] = each[1::2][:, swapped]
        np.testing.assert_allclose(logits, each.mean(0).numpy(), rtol=1e-4, atol=1e-5)


def test_four_score_files_are_put_together_by_video_and_class_name(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    videos, classes = [f"video {number}" for number in range(30)], ["open", "close", "wave", "fold"]
    label_of = {video: classes[generator.integers(4)] for video in videos}
    expected = {video: dict.fromkeys(classes, 0.0) for video in videos}
    files = []
    for number in range(4):
        ids, names = generator.permutation(videos), list(generator.permutation(classes))
        logits = generator.normal(size=(30, 4)).astype(np.float32)
        labels = np.array([names.index(label_of[video]) for video in ids])
        for row, video in enumerate(ids):
            for column, name in enumerate(names):
                expected[video][name] += float(logits[row, column]) / 4
        files.append(tmp_path / f"{number}.npz")
        save_scores(Scores(tuple(ids), labels, logits, tuple(names), f"model {number}"), files[-1])
    main(["ensemble", *map(str, files), "--scores", str(tmp_path / "all.npz")])
    together = load_scores(tmp_path / "all.npz")
    hits = 0
    for video, label, logits in zip(together.ids, together.labels, together.logits, strict=True):
        assert together.classes[label] == label_of[video]
        by_name = dict(zip(together.classes, logits.tolist(), strict=True))
        assert by_name == pytest.approx(expected[video], abs=1e-6)
        hits += max(expected[video], key=expected[video].__getitem__) == label_of[video]
    assert together.metrics().top1 == hits / 30


@pytest.mark.slow
def test_classes_are_matched_by_name_and_never_by_number_alone(
    tmp_path: Path,
    write_video: Callable[..., Path],
    counting_frames: Callable[..., np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    released = write_checkpoint(tmp_path / "released.pth.tar", released_state("bninception_T8_C174"))
    write_video(tmp_path / "a.mp4", counting_frames(9))
    (tmp_path / "numbers.txt").write_text("a.mp4 9 5\n")
    (tmp_path / "names.csv").write_text("path,label\na.mp4,Closing something\n")
    sorted_names = load_recipe("gsm-bninception-8").class_names()
    (tmp_path / "category.txt").write_text("\n".join(sorted_names))

    def test(model: Path, listed: str, *options: str) -> str:
        scores = str(tmp_path / "scores.npz")
        words = ["--segments", "8", "--workers", "0", "--overwrite", "--scores", scores, *options]
        try:
            main(["test", str(model), str(tmp_path / listed), *words])
        except SystemExit as stop:
            assert stop.code == 2
            return capsys.readouterr().err
        found = load_scores(tmp_path / "scores.npz")
        return found.classes[found.labels[0]]

    names = ["--classes", str(tmp_path / "category.txt")]
    assert "classes are not matched by number alone; name them by " in test(released, "numbers.txt")
    assert test(released, "numbers.txt", *names) == sorted_names[5] == "Closing something"
    assert test(released, "names.csv", *names) == "Closing something"

    model = gs.load_model(released, classes=sorted_names[::-1])  # the same names in another order
    gs.save_model(model, tmp_path / "other_order.safetensors")
    assert "put classes.txt, the names in the order of the numbers" in test(
        tmp_path / "other_order.safetensors", "numbers.txt"
    )
    assert test(tmp_path / "other_order.safetensors", "names.csv") == "Closing something"
    assert load_scores(tmp_path / "scores.npz").labels[0] == 173 - 5
    (tmp_path / "category.txt").write_text("one\ntwo\n")
    assert "2 class names, 2 different, for a model of 174 classes" in test(released, "names.csv", *names)
    (tmp_path / "category.txt").write_text("one\none\n")
    assert "list each class once" in test(released, "names.csv", *names)
