"""Features of videos as files: what they are, how they are read by others, and jobs that stop, fail and go on."""

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WriteVideo
from hypothesis import given
from hypothesis import strategies as st
from memory import in_fresh_process, peak_mb
from safetensors import safe_open
from safetensors.numpy import load_file
from streaming_data import TinyNet, moving_scene, offline_features, trained

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.video.files import open_video
from gateshift.errors import ModelError, SettingsError, VideoError
from gateshift.extraction.files import name_videos
from gateshift.extraction.reading import Part, Wanted, WatchedReader, read_parts
from gateshift.prediction.windows import Windows

FPS = 25
NUM_FRAMES = 90
QUICK: dict[str, Any] = {"window": 0.8, "stride": 0.28, "workers": 0}  # 20 and 7 frames


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> Path:
    """A folder with a model, and clips in folders of two classes, of which some have the same names."""
    folder = tmp_path_factory.mktemp("place")
    scene = moving_scene(NUM_FRAMES, 48, 64)
    for number, (name, num_frames) in enumerate({"open/1": 90, "open/2": 41, "close/1": 7, "close/3": 64}.items()):
        path = folder / "clips" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, np.roll(scene, 9 * number, axis=0)[:num_frames], fps=FPS)
    gs.save_model(model_of("gsm"), folder / "model.safetensors")
    return folder


def model_of(temporal: str, **options: Any) -> gs.VideoClassifier:
    torch.manual_seed(0)
    options = {"num_classes": 3, "size_px": 32, "num_segments": 4, **options}
    return trained(gs.create_model("test_resnet", temporal, **options))


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def about(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".times.json").read_text("utf-8"))
    return found


@pytest.mark.slow
def test_a_row_is_what_the_classifier_sees_of_a_window(place: Path, tmp_path: Path) -> None:
    clip = place / "clips" / "open" / "1.mp4"
    model = gs.load_model(place / "model.safetensors").eval()
    found = gs.extract_features(model, clip, out=tmp_path / "f", **QUICK)
    assert (found.num_made, found.failures) == (1, {})
    rows = np.load(found.files[str(clip)])
    spans = Windows(20, 7, 4).covering(NUM_FRAMES)
    assert rows.dtype == np.float32 and rows.shape == (len(spans), model.head.in_features)
    known = about(found.files[str(clip)])
    assert known["times_s"] == [[round(span.start / FPS, 6), round(span.stop / FPS, 6)] for span in spans]
    assert (known["shape"], known["window_frames"], known["stride_frames"]) == ([*rows.shape], 20, 7)
    assert (known["fps"], known["num_frames"], known["per"]) == (FPS, NUM_FRAMES, "clip")
    for row, span in zip(rows, spans, strict=True):
        start_s = (span.start - 0.5) / FPS if span.start else 0
        with open_video(clip, start_s=start_s, end_s=(span.stop - 0.5) / FPS) as part:
            views = read_views(part, EvalProtocol(4), size_px=32, resize_px=model.config.resize_px)
        with torch.inference_mode():
            torch.testing.assert_close(model.head(torch.from_numpy(row)), model(views)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["gsm", "none"])
def test_rows_of_frames_are_those_of_the_whole_video_as_one_clip(temporal: str, place: Path, tmp_path: Path) -> None:
    clip, model = place / "clips" / "open" / "1.mp4", model_of(temporal)
    found = gs.extract_features(model, clip, out=tmp_path / "f", per="frame", workers=1)
    rows, known = np.load(found.files[str(clip)]), about(found.files[str(clip)])
    with open_video(clip) as video:
        crops = EvalProtocol(1).crops(video.read(range(NUM_FRAMES)), size_px=32, resize_px=model.config.resize_px)[0]
        shown_s = video.times_s()  # type: ignore[attr-defined] # it is a file
    torch.testing.assert_close(torch.from_numpy(rows), offline_features(model, crops), rtol=1e-4, atol=1e-4)
    assert known["times_s"] == pytest.approx(shown_s, abs=1e-6) and known["per"] == "frame"


@pytest.mark.slow
def test_a_network_that_answers_for_each_frame_has_a_row_for_each_that_it_sees(place: Path, tmp_path: Path) -> None:
    clip = place / "clips" / "open" / "1.mp4"
    model = gs.create_model(
        "test_resnet", "gsm", classes=["hit"], task="spot", head="gru", fps=12.5, size_px=32, num_segments=8
    ).eval()
    found = gs.extract_features(model, clip, out=tmp_path / "f", workers=0)
    features = model.frame_features(torch.zeros(1, 1, 3, 32, 32)).shape[1]
    assert np.load(found.files[str(clip)]).shape == (45, features)
    assert about(found.files[str(clip)])["times_s"] == pytest.approx(np.arange(45) / 12.5, abs=1e-6)
    with pytest.raises(SettingsError, match="`stride` 1 with a network that was trained on 12.5 frames a second"):
        gs.extract_features(model, clip, out=tmp_path / "g", stride=1.0)


@pytest.mark.slow
def test_whole_videos_and_folders_of_images_have_a_row_each(
    place: Path, tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    images = write_folder(tmp_path / "images" / "v1.2", moving_scene(10, 48, 64))
    sources = [place / "clips", images]
    found = gs.extract_features(model_of("gsm"), sources, out=tmp_path / "f", window=None, workers=0)
    assert {np.load(path).shape[0] for path in found.files.values()} == {1}
    assert about(tmp_path / "f" / "v1.2.npy")["times_s"] is None
    with pytest.raises(SettingsError, match="was begun with another features, whole videos, 4 segments and not"):
        gs.extract_features(model_of("gsm"), images, out=tmp_path / "f", fps=10)
    timed = gs.extract_features(model_of("gsm"), images, out=tmp_path / "g", window=0.4, stride=0.3, fps=10)
    assert about(timed.files[str(images)])["times_s"] == [[0.0, 0.4], [0.3, 0.7], [0.6, 1.0]]
    without = gs.extract_features(model_of("gsm"), images, out=tmp_path / "h")
    assert "nothing says how many frames a second it has; give `fps`" in without.failures[str(images)]


@given(num_frames=st.integers(1, 400), size=st.integers(1, 64), hop=st.integers(1, 64))
def test_rows_lie_where_action_former_takes_them_to_be(num_frames: int, size: int, hop: int) -> None:
    # Its data sets read [T, C], and put second x of a video at row (x * fps - num_frames / 2) / feat_stride.
    spans = Windows(size, hop, 1).covering(num_frames)
    if num_frames < size:
        assert len(spans) == 1
        return
    middles = np.array([(span.start + span.stop) / 2 for span in spans])
    rows = (middles - size / 2) / hop
    np.testing.assert_allclose(rows[:-1], np.arange(len(spans) - 1))
    assert len(spans) - 2 < rows[-1] <= len(spans) - 1  # the last window ends with the video


@pytest.mark.slow
def test_the_page_reads_them_as_action_former_and_ms_tcn_do(place: Path, tmp_path: Path) -> None:
    clip = place / "clips" / "open" / "1.mp4"
    path = gs.extract_features(model_of("gsm"), clip, out=tmp_path / "f", window=0.64, stride=0.16).files[str(clip)]
    feats, known = np.load(path).astype(np.float32), about(path)
    assert (known["stride_frames"], known["window_frames"], known["fps"]) == (4, 16, 25)
    num_rows, channels = feats.shape  # [T, C]
    assert num_rows == 1 + -(-(NUM_FRAMES - 16) // 4) and channels == known["shape"][1]
    second = 1.28
    row = (second * known["fps"] - 0.5 * known["window_frames"]) / known["stride_frames"]
    start_s, end_s = known["times_s"][round(row)]
    assert (start_s + end_s) / 2 == pytest.approx(second)


@pytest.mark.slow
def test_one_process_and_threads_give_the_same_bytes(place: Path, tmp_path: Path) -> None:
    for name, workers in {"one": 0, "three": 3}.items():
        options = {**QUICK, "workers": workers}
        found = gs.extract_features(place / "model.safetensors", place / "clips", out=tmp_path / name, **options)
        assert (found.num_made, len(found.files)) == (4, 4)
    names = ["open/1", "open/2", "close/1", "close/3"]
    expected = {f"{name}{suffix}" for name in names for suffix in (".npy", ".times.json")}
    assert files_in(tmp_path / "one").keys() == {"job.json", *expected}
    assert files_in(tmp_path / "one") == files_in(tmp_path / "three")


@pytest.mark.slow
def test_ray_gives_the_same_bytes_and_names_what_it_cannot_read(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; pip install '.[cluster]'")
    from test_cluster import started

    (tmp_path / "broken.mp4").write_text("no video\n")
    words = f"features model.safetensors clips {tmp_path}/broken.mp4 --window 0.8 --stride 0.28".split()
    printed = {}
    for name, more in {"here": ["--workers", "0"], "ray": ["--engine", "ray"]}.items():
        command = ["-m", "gateshift", *words, *more, "--out", str(tmp_path / name)]
        with started([sys.executable, *command], place) as process:
            out, errors = process.communicate(timeout=480)
        assert process.returncode == 2, errors
        assert out == f"{tmp_path / name}: features of 4 videos, 4 of them made now; 1 could not be read\n"
        printed[name] = [line for line in errors.splitlines() if "broken" in line]
    assert printed["here"] == printed["ray"] and len(printed["here"]) == 1
    assert files_in(tmp_path / "here") == files_in(tmp_path / "ray")


@pytest.mark.slow
def test_a_job_goes_on_and_takes_more_videos_but_no_other_model_or_protocol(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f"
    gs.extract_features(place / "model.safetensors", place / "clips" / "open", out=out, **QUICK)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.npy")}
    (out / "1.npy").unlink()
    words = ["features", str(place / "model.safetensors"), str(place / "clips" / "open"), "--out", str(out)]
    quick = ["--window", "0.8", "--stride", "0.28", "--workers", "0"]
    main([*words, *quick])
    assert capsys.readouterr().out == f"{out}: features of 2 videos, 1 of them made now; 0 could not be read\n"
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.npy")}
    assert after.keys() == before.keys() and after["2.npy"] == before["2.npy"] and after["1.npy"] > before["1.npy"]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").touch()
    gs.save_model(model_of("tsm"), tmp_path / "other.safetensors")
    for changed, fault in [
        ([*words, "--window", "1.6"], "begun with another features, windows of 0.8 s every 0.28 s, 4 segments and not"),
        ([*words, *quick, "--format", "safetensors"], "was begun with another format, npy and not safetensors"),
        (["features", str(tmp_path / "other.safetensors"), *words[2:], *quick], "was begun with another model, "),
        ([*words[:3], "--out", str(tmp_path / "own")], "exists, and no job was begun in it; choose another folder"),
    ]:
        with pytest.raises(SystemExit) as stop:
            main(changed)
        err = capsys.readouterr().err
        assert stop.value.code == 2 and fault in err and err.count("\n") == 1


@pytest.mark.slow
def test_a_bad_video_costs_itself_alone_and_is_tried_again(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    whole = (place / "clips" / "open" / "1.mp4").read_bytes()
    (clips / "a.mp4").write_bytes(whole[: len(whole) // 2])
    (clips / "b.mp4").write_bytes(whole)
    words = ["features", str(place / "model.safetensors"), str(clips), "--out", str(tmp_path / "f")]
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and err.startswith(f"gateshift: {clips}/a.mp4: ") and err.count("\n") == 1
    assert out.endswith("features of 1 videos, 1 of them made now; 1 could not be read\n")
    assert sorted(files_in(tmp_path / "f")) == ["b.npy", "b.times.json", "job.json"]
    (clips / "a.mp4").write_bytes(whole)
    main(words)
    assert files_in(tmp_path / "f")["a.npy"] == files_in(tmp_path / "f")["b.npy"]


@pytest.mark.slow
def test_safetensors_hold_the_same_numbers_and_what_is_known_of_them(place: Path, tmp_path: Path) -> None:
    clip = place / "clips" / "open" / "2.mp4"
    paths = [
        gs.extract_features(model_of("gsm"), clip, out=tmp_path / format, format=format, **QUICK).files[str(clip)]  # type: ignore[arg-type]
        for format in ("npy", "safetensors")
    ]
    (rows,) = load_file(paths[1]).values()
    np.testing.assert_array_equal(rows, np.load(paths[0]))
    with safe_open(paths[1], "np") as file:
        assert json.loads(file.metadata()["gateshift"]) == about(paths[0])
    assert sorted(files_in(tmp_path / "safetensors")) == ["2.safetensors", "job.json"]


@pytest.mark.slow
def test_a_network_of_timm_that_nobody_trained_on_videos(place: Path, tmp_path: Path) -> None:
    network = "--backbone vit_small_patch14_dinov2.lvd142m --temporal none --weights None --size 28 --segments 2"
    main(["features", str(place / "clips" / "close"), *network.split(), "--out", str(tmp_path / "f")])
    assert np.load(tmp_path / "f" / "1.npy").shape == (1, 384) and np.load(tmp_path / "f" / "3.npy").shape == (3, 384)
    assert about(tmp_path / "f" / "3.npy")["size_px"] == 28


@pytest.mark.slow
def test_what_cannot_be_is_refused_before_anything_is_read(place: Path, tmp_path: Path) -> None:
    clips, model = place / "clips", model_of("gsm")
    for options, fault in [
        ({"window": 0}, "`window` 0; it must be above 0"),
        ({"batch_size": 0}, "`batch_size` 0; it must be at least 1"),
        ({"per": "clips"}, "`per` 'clips'; choose one of clip, frame"),
        ({"format": "npz"}, "`format` 'npz'; choose one of npy, safetensors"),
        ({"engine": "dask"}, "`engine` 'dask'; choose one of here, ray"),
        ({"timeout": 5.0}, "`timeout` 5 was given without `engine=ray`"),
        ({"engine": "ray", "workers": 2}, "`workers` 2 with `engine=ray`"),
        ({"per": "frame", "segments": 4}, "`segments` 4 with `per=frame`"),
    ]:
        with pytest.raises(SettingsError, match=fault):
            gs.extract_features(model, clips, out=tmp_path / "f", **options)
    own = gs.VideoClassifier.wrap(TinyNet(), 12, num_classes=2, size_px=8, num_segments=4).eval()
    with pytest.raises(SettingsError, match="`engine=ray` with a network of your own, which workers cannot build"):
        gs.extract_features(own, clips, out=tmp_path / "f", engine="ray")
    with pytest.raises(ModelError, match=r"call model.eval\(\)"):
        gs.extract_features(model.train(), clips, out=tmp_path / "f", **QUICK)
    with pytest.raises(SystemExit):
        main(["features", str(place / "model.safetensors"), str(clips), "--out", str(tmp_path / "g"), "--size", "64"])
    assert not (tmp_path / "g").exists()


def test_names_are_paths_in_the_folder_that_was_given_and_never_lead_out_of_it(place: Path) -> None:
    clips = place / "clips"
    (clips / "list.txt").write_text(f"close/1.mp4\n../clips/open/2.mp4\n{clips}/close/3.mp4\n")
    assert [*name_videos([clips / "list.txt"])] == ["close/1", "2", "close/3"]
    assert [*name_videos([clips / "open", clips / "close" / "3.mp4", "http://b/x/c.d.mp4?k=1"])] == [
        "1",
        "2",
        "3",
        "c.d",
    ]
    with pytest.raises(SettingsError, match="open/1.mp4 and .*close/1.mp4 are both called 1; rename one"):
        name_videos([clips / "open", clips / "close"])
    with pytest.raises(VideoError, match="no video named"):
        name_videos([])


def wanted(place: Path, *, per_clip: bool) -> Wanted:
    num_segments, stride_s = (4, 0.28) if per_clip else (1, None)
    return Wanted(model_of("gsm").config, per_clip, num_segments, 0.8, stride_s, None, 2, place)


def assert_same_parts(parts: Iterable[Part], others: Iterable[Part]) -> None:
    for number, ((outline, pixels), (_, other)) in enumerate(zip(parts, others, strict=True)):
        assert (outline is None) == (number > 0)
        np.testing.assert_array_equal(pixels, other)


@pytest.mark.slow
@pytest.mark.parametrize("per_clip", [True, False])
def test_a_watched_process_reads_the_same_whatever_happened_to_the_video_before(per_clip: bool, place: Path) -> None:
    task = wanted(place, per_clip=per_clip)
    first, second = "clips/open/1.mp4", "clips/close/3.mp4"
    with closing(WatchedReader(task, timeout_s=60)) as reader:
        assert_same_parts(reader.parts(first), read_parts(first, task))
        with pytest.raises(VideoError, match="clips/none.mp4: there is no such file"):
            next(reader.parts("clips/none.mp4"))
        next(reader.parts(second))  # and no more of it
        assert_same_parts(reader.parts(second), read_parts(second, task))
        parts = reader.parts(first)
        next(parts)
        (process,) = multiprocessing.active_children()
        process.kill()
        with pytest.raises(VideoError, match="open/1.mp4: ended the process that decoded it; write it again"):
            list(parts)
        assert_same_parts(reader.parts(second), read_parts(second, task))


@pytest.mark.slow
def test_a_part_of_a_video_may_take_too_long(place: Path) -> None:
    reader = WatchedReader(wanted(place, per_clip=True), timeout_s=1e-9)
    with pytest.raises(
        VideoError, match="open/1.mp4: nothing more was decoded in 1e-09 s; write it again, or raise `t"
    ):
        next(reader.parts("clips/open/1.mp4"))


@pytest.fixture(scope="module")
def lengths(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> list[Path]:
    """Videos of 20 s and of 320 s."""
    folder, scene = tmp_path_factory.mktemp("lengths"), moving_scene(NUM_FRAMES, 48, 64)
    return [
        write_video(folder / f"{seconds}.mp4", np.resize(scene, (seconds * FPS, *scene.shape[1:])), fps=FPS)
        for seconds in (20, 320)
    ]


def peak_of(model: Path, video: Path, out: Path, per: Any) -> float:
    gs.extract_features(model, video, out=out, per=per, stride=1.0 if per == "clip" else 0.2, workers=1)
    return peak_mb()


@pytest.mark.slow
@pytest.mark.parametrize("per", ["clip", "frame"])
def test_memory_does_not_grow_with_a_video(per: str, place: Path, tmp_path: Path, lengths: list[Path]) -> None:
    model = place / "model.safetensors"
    peaks = [in_fresh_process(peak_of, model, video, tmp_path / video.stem, per) for video in lengths]
    assert peaks[1] - peaks[0] < 12, peaks
