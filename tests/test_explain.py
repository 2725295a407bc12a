"""Gate maps, how far gates are open, evidence for a class, and the verb that shows them."""

import base64
import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gateshift as gs
from gateshift.cli.main import main, run
from gateshift.data.clips.dataset import read_views
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.video.files import open_video
from gateshift.drawing.html_page import Section, render_page
from gateshift.errors import ModelError
from gateshift.explanation.drawings import draw_overlay
from gateshift.explanation.evidence import find_evidence_layer
from gateshift.explanation.gate_maps import CAUSAL_DIRECTIONS, DIRECTIONS, gate_directions, most_varied
from gateshift.model.config import ModelConfig
from gateshift.model.temporal.modules import GateShift, GateShiftFuse

CLASSES = ["pick up", "put down", "<other>"]


def open_gates(temporal: str = "gsm", *, seed: int = 0, size_px: int = 32, causal: bool = False) -> gs.VideoClassifier:
    """A small network whose gates are anything: not closed, as those of a new one."""
    torch.manual_seed(seed)
    model = gs.create_model(
        "test_resnet", temporal, classes=CLASSES, size_px=size_px, num_segments=4, causal=causal
    ).eval()
    nn.init.normal_(model.head.weight)
    for module in model.modules():
        if isinstance(module, GateShift):
            for tensor in (module.bn.weight, module.bn.bias, module.bn.running_mean, module.weight, module.bias):
                nn.init.normal_(tensor, std=0.3)
        if isinstance(module, GateShiftFuse):
            nn.init.normal_(module.fuse.weight)
            nn.init.normal_(module.fuse.bias)
    return model


def read_clip(path: Path, *, num_frames: int = 8, size_px: int = 32) -> Tensor:
    with open_video(path) as video:
        return read_views(video, EvalProtocol(num_frames), size_px=size_px, resize_px=size_px)  # [1, T, 3, size, size]


# Gates


def test_a_causal_network_sends_both_halves_to_the_next_frame() -> None:
    assert gate_directions(open_gates()) == DIRECTIONS
    assert gate_directions(open_gates(causal=True)) == CAUSAL_DIRECTIONS


def test_maps_have_the_size_of_each_layer_whatever_the_size_of_the_frames() -> None:
    maps = gs.gate_maps(open_gates(), torch.rand(1, 3, 3, 48, 80))
    assert [tuple(gates.shape) for gates in maps.values()][:2] == [(1, 3, 2, 12, 20), (1, 3, 2, 6, 10)]


def test_the_layers_worth_a_look_are_those_that_vary_in_most_places() -> None:
    flat, coarse, fine = torch.ones(4, 2, 8, 8), torch.ones(4, 2, 1, 1), torch.full((4, 2, 8, 8), 0.5)
    coarse[0], fine[0] = -1, -0.5
    gates = {"fine": fine, "flat": flat, "coarse": coarse}
    assert list(most_varied(gates, 1)) == ["fine"]
    assert list(most_varied(gates, 2)) == ["fine", "coarse"]


def test_a_deployed_model_is_not_looked_into() -> None:
    model = open_gates().deploy()
    clips = torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ModelError, match="a deployed model cannot be looked into; give the model that it was made of"):
        gs.gate_maps(model, clips)
    with pytest.raises(ModelError, match="a deployed model"):
        gs.evidence_map(model, clips, 0)


@pytest.mark.parametrize("other", [nn.Conv2d(3, 3, 3), "model.safetensors"])
def test_what_is_no_model_is_not_looked_into(other: Any) -> None:
    clips = torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8)
    message = f"a {type(other).__name__} cannot be looked into; give a VideoClassifier"
    with pytest.raises(ModelError, match=message):
        gs.gate_maps(other, clips)
    with pytest.raises(ModelError, match=message):
        gs.evidence_map(other, clips, 0)


# How far gates are open


def test_openness_is_the_mean_absolute_gate_of_all_clips() -> None:
    model = open_gates()
    clips = torch.randint(0, 256, (3, 4, 3, 32, 32), dtype=torch.uint8)
    found = gs.gate_openness(model, clips.split(2))  # batches of 2 and of 1
    for layer, maps in gs.gate_maps(model, clips).items():
        expected = [float(maps[:, :, half].abs().mean()) for half in (0, 1)]
        assert found[layer].tolist() == pytest.approx(expected, rel=1e-5)


def test_new_gates_are_closed_and_other_modules_have_none() -> None:
    clips = [torch.randint(0, 256, (1, 2, 3, 32, 32), dtype=torch.uint8)]
    new = gs.create_model("test_resnet", "gsm", num_classes=2).eval()
    assert all(both.tolist() == [0, 0] for both in gs.gate_openness(new, clips).values())
    assert gs.gate_openness(open_gates("tsm"), clips) == {}


# Evidence


class RedAndGreen(nn.Sequential):
    """Two features of a frame: how red and how green it is, in the mean over its places."""

    def __init__(self, *, last: nn.Module) -> None:
        seen = nn.Conv2d(3, 2, 1, bias=False)
        seen.weight.data = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])[..., None, None] / 255
        super().__init__(seen, last, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def colour_model(*, last: nn.Module | None = None) -> gs.VideoClassifier:
    config = ModelConfig("test", "none", ("red", "green"), False, 0.0, 32, (0.0,) * 3, (1.0,) * 3, False)
    model = gs.VideoClassifier(RedAndGreen(last=last or nn.ReLU()), 2, config).eval()
    nn.init.eye_(model.head.weight)
    model.head.bias.data.copy_(torch.tensor([0.3, 0.7]))
    return model


def coloured_squares() -> Tensor:
    """Four grey frames: in the first three a red square moves to the right, a green one is below it."""
    clip = torch.full((1, 4, 3, 32, 32), 128, dtype=torch.uint8)
    for t in range(3):
        clip[0, t, :, 4:10, 8 * t : 8 * t + 6] = torch.tensor([250, 20, 20])[:, None, None]
        clip[0, t, :, 20:26, 8 * t : 8 * t + 6] = torch.tensor([20, 250, 20])[:, None, None]
    return clip


def test_evidence_lies_where_and_when_the_object_of_the_class_is() -> None:
    evidence = gs.evidence_map(colour_model(), coloured_squares(), 0)
    expected = torch.zeros(1, 4, 32, 32, dtype=torch.bool)
    for t in range(3):
        expected[0, t, 4:10, 8 * t : 8 * t + 6] = True
    assert torch.equal(evidence > 0, expected)
    below = gs.evidence_map(colour_model(), coloured_squares(), 1)
    assert torch.equal(below > 0, expected.roll(16, 2))


def test_evidence_and_bias_add_up_to_the_logit_of_a_mean_over_places() -> None:
    model, clip = colour_model(), coloured_squares()
    for index in (0, 1):
        total = gs.evidence_map(model, clip, index).sum()
        torch.testing.assert_close(total + model.head.bias[index], model(clip)[0, index])


@pytest.mark.slow
def test_each_clip_of_a_batch_has_the_evidence_that_it_has_alone() -> None:
    model = open_gates()
    clips = torch.randint(0, 256, (3, 4, 3, 32, 32), dtype=torch.uint8)
    alone = torch.cat([gs.evidence_map(model, clip, 1) for clip in clips.split(1)])
    torch.testing.assert_close(gs.evidence_map(model, clips, 1), alone, rtol=1e-4, atol=1e-6)


def test_layers_that_work_in_place_do_not_spoil_the_evidence() -> None:
    plain, in_place = (colour_model(last=nn.ReLU(inplace=each)) for each in (False, True))
    of_conv = [gs.evidence_map(model, coloured_squares(), 0, layer="0") for model in (plain, in_place)]
    assert of_conv[0].max() > 0
    assert torch.equal(*of_conv)


def test_evidence_is_the_same_in_inference_mode() -> None:
    expected = gs.evidence_map(colour_model(), coloured_squares(), 1)
    model = colour_model()
    with torch.inference_mode():
        assert torch.equal(gs.evidence_map(model, coloured_squares(), 1), expected)


def test_a_class_may_be_a_number_of_numpy_or_torch() -> None:
    expected = gs.evidence_map(colour_model(), coloured_squares(), 1)
    for index in (np.int64(1), torch.tensor(1)):
        assert torch.equal(gs.evidence_map(colour_model(), coloured_squares(), index), expected)  # type: ignore[arg-type]


def test_evidence_leaves_no_trace() -> None:
    model = open_gates()
    clips = torch.randint(0, 256, (1, 4, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        before = model(clips)
        gs.evidence_map(model, clips, 0)
        assert torch.equal(model(clips), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size_px", "layer", "places"),
    [
        ("test_resnet", 96, "layer4", (3, 3)),
        ("test_vit", 160, "blocks.5.norm1", (10, 10)),
        ("torchvision/mobilenet_v3_small", 64, "features", (2, 2)),
        ("bninception", 64, "inception_5b", (2, 2)),
    ],
)
def test_evidence_is_of_the_last_layer_with_places(
    backbone: str, size_px: int, layer: str, places: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    model = gs.create_model(backbone, "none", num_classes=3, size_px=size_px).eval()
    nn.init.normal_(model.head.weight)
    clips = torch.rand(1, 2, 3, size_px, size_px)
    assert find_evidence_layer(model, clips) == layer
    evidence = [gs.evidence_map(model, clips, index) for index in range(3)]
    assert all(maps.shape == (1, 2, *places) and maps.min() >= 0 for maps in evidence)
    assert max(maps.max() for maps in evidence) > 0


@pytest.mark.parametrize(
    ("index", "layer", "message"),
    [
        (2, None, "class 2 of a model of 2; classes are 0..1; correct it"),
        (-1, None, "class -1 of a model of 2"),
        (1.0, None, "class 1.0; a class is a whole number in 0..1; correct it"),
        ([0, 1], None, "class [0, 1]; a class is a whole number in 0..1; correct it"),
        (0, "5", "no layer '5' in test; name one as in model.backbone.named_modules()"),
        (0, "3", "the output of layer 3 has no places; name a layer with maps"),
    ],
)
def test_a_class_or_layer_that_is_not_there_is_an_error(index: Any, layer: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        gs.evidence_map(colour_model(), coloured_squares(), index, layer=layer)


# The verb


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "gsm.safetensors"
    gs.save_model(open_gates(), path)
    return path


def embedded(page: str) -> list[tuple[str, bytes]]:
    """The pictures of a page: their kind and content."""
    found = re.findall(r'src="data:(\w+/\w+);base64,([^"]+)"', page)
    return [(kind, base64.b64decode(content)) for kind, content in found]


@pytest.mark.slow
def test_the_verb_writes_pictures_and_a_page(
    saved: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "explained"
    video = clips / "unseen" / "pick_up.mp4"
    words = ["explain", str(saved), str(video), "--list", str(clips / "val.csv"), "--out", str(out), "--workers", "0"]
    main([*words, "--class", "<other>", "--layer", "layer2"])
    names = {"gates", "evidence", "openness"}
    files = {*(f"{name}.png" for name in names), "openness.csv", "overlay.gif", "explain.html"}
    assert {path.name for path in out.iterdir()} == files
    for name in names:
        with Image.open(out / f"{name}.png") as picture:
            assert picture.format == "PNG"
            assert np.ptp(np.asarray(picture.convert("L"))) > 200
    with Image.open(out / "overlay.gif") as film:
        assert (film.n_frames, film.info["loop"]) == (4, 0)
    page = (out / "explain.html").read_text()
    shown = dict.fromkeys(["evidence.png", "overlay.gif", "gates.png", "openness.png"])
    assert [content for _, content in embedded(page)] == [(out / name).read_bytes() for name in shown]
    assert "&lt;other&gt;" in page
    assert "<other>" not in page
    assert not re.search("https?:", page)
    printed = capsys.readouterr().out
    assert "layer1.0.conv2" in printed
    assert f"page: {out / 'explain.html'}" in printed


@pytest.mark.slow
def test_names_that_look_like_formulas_are_names(clips: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = gs.create_model("test_resnet", "gsm", classes=["pay $_$", "b_$", "c"], size_px=32, num_segments=2).eval()
    gs.save_model(model, tmp_path / "model.safetensors")
    shutil.copy(clips / "unseen" / "pick_up.mp4", tmp_path / "a$_$b.mp4")
    words = ["explain", str(tmp_path / "model.safetensors"), str(tmp_path / "a$_$b.mp4"), "--class", "pay $_$"]
    main([*words, "--out", str(tmp_path / "out")])
    assert "pay $_$" in (tmp_path / "out" / "explain.html").read_text()


@pytest.mark.slow
def test_the_table_of_a_data_set_is_what_its_clips_give(saved: Path, clips: Path, tmp_path: Path) -> None:
    main(["explain", str(saved), "--list", str(clips / "val.csv"), "--out", str(tmp_path / "a"), "--workers", "0"])
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"openness.csv", "openness.png", "explain.html"}
    with (tmp_path / "a" / "openness.csv").open(newline="") as file:
        rows = {(row["layer"], row["direction"]): float(row["mean_abs_gate"]) for row in csv.DictReader(file)}
    model = gs.load_model(saved)
    paths = sorted((clips / "val").rglob("*.mp4"))
    batches = []
    for path in paths:
        with open_video(path) as video:
            batches.append(read_views(video, EvalProtocol(4), size_px=32, resize_px=model.config.resize_px))
    for layer, both in gs.gate_openness(model, batches).items():
        assert [rows[layer, direction] for direction in DIRECTIONS] == pytest.approx(both.tolist(), abs=1e-5)


@pytest.mark.slow
def test_a_model_without_gates_still_shows_its_evidence(clips: Path, tmp_path: Path) -> None:
    gs.save_model(open_gates("tsm"), tmp_path / "tsm.safetensors")
    words = [str(tmp_path / "tsm.safetensors"), str(clips / "unseen" / "cover.mp4"), "--out", str(tmp_path / "a")]
    main(["explain", *words])
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"evidence.png", "overlay.gif", "explain.html"}
    assert "This model has no gates" in (tmp_path / "a" / "explain.html").read_text()


def test_each_frame_of_the_overlay_shows_its_frame_under_its_maps(tmp_path: Path) -> None:
    clip = torch.tensor([40, 100, 160], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 16, 16)
    evidence = torch.stack([torch.full((4, 4), value) for value in (0.0, 0.0, 2.0)])
    gates = torch.stack([torch.full((2, 4, 4), value) for value in (-1.0, 0.0, 1.0)])
    draw_overlay(clip, evidence, gates, tmp_path / "overlay.gif")
    with Image.open(tmp_path / "overlay.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (3, (64, 16), 0)
        frames = []
        for number in range(3):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB"))[8].astype(int))
    plain, under_evidence, to_previous, to_next = (np.stack(frames)[:, 8 + 16 * panel] for panel in range(4))  # [T, 3]
    assert np.abs(plain - np.array([[40], [100], [160]])).max() <= 2
    assert np.abs(under_evidence[:2] - plain[:2]).max() <= 2
    assert under_evidence[2, 0] > under_evidence[2, 2] + 40  # the brightest evidence is yellow
    assert np.array_equal(to_previous, to_next)
    assert to_next[0, 2] > to_next[0, 0] + 40  # blue below 0, the frame at 0, red above
    assert np.abs(to_next[1] - 100).max() <= 2
    assert to_next[2, 0] > to_next[2, 2] + 40


def test_names_are_shown_on_a_page_as_they_are() -> None:
    page = render_page("a <script> & co", [Section("x", ["<b>"], columns=("<i>",), rows=[("<u>",)])])
    assert not re.search(r"<(script|b|i|u)>", page)
    assert "a &lt;script&gt; &amp; co" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{model}", "was given; name a video after the model, or a list, or both"),
        ("{model} nowhere.mp4", "nowhere.mp4"),
        ("{model} {video} --class put_down", " 'put_down' is none of the 3 classes; try put down"),
        ("{model} {video} --layer layer9", "no layer 'layer9' in test_resnet"),
        ("{model} --list {videos} --layer layer2", " was given without VIDEO"),
        ("{model} {video} --segments 0", "0; a clip has at least 1 frame"),
        ("{plain} --list {videos}", "for a model with 'none', which has no gates to measure"),
        ("model.onnx {video}", "model.onnx: an exported file cannot be looked into; give the .safetensors model"),
        ("model.pt2 {video}", "model.pt2: an exported file cannot be looked into"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(
    words: str, message: str, saved: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gs.save_model(open_gates("none"), tmp_path / "plain.safetensors")
    given = {
        "model": saved,
        "plain": tmp_path / "plain.safetensors",
        "video": clips / "unseen" / "cover.mp4",
        "videos": clips / "val.csv",
    }
    with pytest.raises(SystemExit) as stopped:
        main(["explain", *(word.format(**given) for word in words.split()), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists_is_kept(saved: Path, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(gs.GateShiftError, match="exists; choose another folder, or add "):
        run(["explain", str(saved), str(clips / "unseen" / "cover.mp4"), "--out", str(tmp_path)])
    (tmp_path / "file").touch()
    with pytest.raises(gs.GateShiftError, match="is a file; choose a folder"):
        run(["explain", str(saved), str(clips / "val.csv"), "--out", str(tmp_path / "file"), "--overwrite"])
