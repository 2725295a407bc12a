"""Clips in, logits out."""

import dataclasses
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import gateshift as gs
from gateshift.errors import ModelError
from gateshift.model.classifier import VideoClassifier
from gateshift.model.temporal.site import describe_sites


@pytest.fixture(scope="module")
def model() -> VideoClassifier:
    torch.manual_seed(0)
    made = gs.create_model("test_resnet", "gsm", classes=["open", "close", "wave"]).eval()
    for name, parameter in made.named_parameters():
        if ".temporal." in name and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def clips(batch: int, num_frames: int, size: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (batch, num_frames, 3, size, size), dtype=torch.uint8)


@pytest.mark.parametrize("num_frames", [1, 2, 8, 13])
def test_any_number_of_frames_gives_logits_for_each_clip(model: VideoClassifier, num_frames: int) -> None:
    assert model(clips(2, num_frames)).shape == (2, 3)


def test_the_number_of_frames_may_have_been_set_to_another(model: VideoClassifier) -> None:
    x = clips(2, 4)
    with torch.no_grad():
        before = model(x)
        gs.set_num_frames(model, 5)
        assert torch.equal(model(x), before)


def test_uint8_and_float_clips_give_the_same(model: VideoClassifier) -> None:
    x = clips(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x.float() / 255), rtol=1e-4, atol=1e-6)


def test_clips_of_a_batch_do_not_mix(model: VideoClassifier) -> None:
    x = clips(3, 5)
    with torch.no_grad():
        torch.testing.assert_close(model(x), torch.cat([model(clip[None]) for clip in x]), rtol=1e-4, atol=1e-6)


def test_the_order_of_frames_matters_with_gate_shift_alone(model: VideoClassifier) -> None:
    x = clips(1, 8)
    plain = gs.create_model("test_resnet", "none", num_classes=3).eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(x), plain(x.flip(1)), rtol=1e-4, atol=1e-7)
        assert not torch.allclose(model(x), model(x.flip(1)), rtol=1e-3)


@pytest.mark.slow
def test_the_papers_networks_see_bgr_minus_the_caffe_mean() -> None:
    model = gs.create_model("bninception", "none", num_classes=2)
    red = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    red[:, 0] = 200
    assert model.normalize(red).flatten().tolist() == [-104, -117, 200 - 128]
    assert model.config.size_px == 224
    assert model.config.resize_px == 256
    assert gs.create_model("inceptionv3", "none", num_classes=2).config.size_px == 229


@pytest.mark.slow
def test_timm_networks_see_rgb_by_their_own_mean_and_std() -> None:
    model = gs.create_model("resnet18", "none", num_classes=2)
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    expected = [(1 - mean) / std for mean, std in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    assert model.normalize(white).flatten().tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((2, 4, 48, 48, 3), "clips.permute"),
        ((4, 3, 48, 48), "clip.unsqueeze"),
        ((4, 48, 48, 3), r"clip.permute\(0, 3, 1, 2\).unsqueeze\(0\)"),
        ((2, 0, 3, 48, 48), "no empty axis"),
        ((2, 4, 1, 48, 48), r"RGB clips \[B, T, 3, H, W\]"),
    ],
)
def test_other_shapes_are_refused_with_what_to_do(model: VideoClassifier, shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(ModelError, match=hint):
        model(torch.zeros(shape, dtype=torch.uint8))


def test_other_types_are_refused(model: VideoClassifier) -> None:
    with pytest.raises(ModelError, match=r"clips of torch.int64; a model takes uint8"):
        model(torch.zeros(1, 2, 3, 8, 8, dtype=torch.int64))


def test_numpy_clips_are_taken_as_tensors_are(model: VideoClassifier) -> None:
    x = clips(2, 4)
    read_only = x.numpy().copy()
    read_only.setflags(write=False)
    with torch.no_grad():
        for given in (x.numpy(), read_only, x.flip(1).numpy()[:, ::-1], x.numpy().astype("float32") / 255):
            torch.testing.assert_close(model(given), model(x), rtol=1e-4, atol=1e-6)
        assert torch.equal(model.deploy()(x.numpy()), model.deploy()(x))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 4, 8, 8, 3), np.uint8), r"try model\(clips.transpose\(0, 1, 4, 2, 3\)\)"),
        (np.zeros((4, 8, 8, 3), np.uint8), r"try model\(clip.transpose\(0, 3, 1, 2\)\[None\]\)"),
        (np.zeros((2, 4, 3, 8, 8), np.int32), "clips of torch.int32; a model takes uint8"),
        (np.zeros((2, 4, 3, 8, 8), object), "clips of NumPy's object; a model takes uint8"),
        (np.zeros((2, 4, 3, 8, 8), ">f4"), "clips of NumPy's >f4; a model takes uint8"),
        ([[1]], "clips of type list; a model takes RGB clips"),
    ],
)
def test_arrays_of_other_shapes_and_types_are_refused(model: VideoClassifier, given: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        model(given)


@pytest.mark.parametrize("scale", [255, 1.1, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_floats_outside_0_to_1_are_refused(model: VideoClassifier, scale: float, dtype: torch.dtype) -> None:
    x = torch.ones(1, 2, 3, 8, 8, dtype=dtype)
    x[0, 1, 2, 3, 4] = scale
    hint = "divide them by 255" if scale in (255, 1.1) else "scale or clamp them"
    for refusing in (model, model.deploy()):
        with pytest.raises(ModelError, match=f"a model takes floats in 0..1, or uint8 .0..255.; {hint}"):
            refusing(x)
        with pytest.raises(ModelError, match="floats in 0..1"):
            refusing(x.double().numpy())


@pytest.mark.slow
def test_floats_are_taken_by_compilers_and_exporters_and_may_be_off_by_their_rounding(model: VideoClassifier) -> None:
    x = clips(1, 4).float() / 255
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(model(x * (1 + 2e-7)), expected, rtol=1e-4, atol=1e-6)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-6)
        exported = torch.export.export(model, (x,)).module()
        torch.testing.assert_close(exported(x), expected, rtol=1e-4, atol=1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its age, and of shapes that it takes for constants
            traced = torch.jit.trace(model, (x,))
        torch.testing.assert_close(traced(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size_px", "nearest"),
    [
        ("inceptionv3", 224, "take 204 px or 229 px"),
        ("bninception", 16, "take 31 px"),
        ("test_vit", 100, "take 96 px or 112 px"),
        ("inceptionv3", 5000, "choose 1 to 4096"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_with_the_nearest_that_it_can(
    backbone: str, size_px: int, nearest: str
) -> None:
    with pytest.raises(ModelError, match=f"{backbone} does not take an input of {size_px} px.*{nearest}$"):
        gs.create_model(backbone, "none", num_classes=2, size_px=size_px)
    for taken in re.findall(r"(\d+) px(?: or|$)", nearest.partition("take ")[2]):
        model = gs.create_model(backbone, "none", num_classes=2, size_px=int(taken)).eval()
        assert model(clips(1, 1, int(taken))).shape == (1, 2)
        if backbone == "inceptionv3":
            with pytest.raises(ModelError, match="does not take"):
                gs.create_model(backbone, "none", num_classes=2, size_px=int(taken) + (1 if taken == "204" else -1))


def test_an_unknown_backbone_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ModelError, match=r"unknown backbone 'bninceptoin'; .*bninception"):
        gs.create_model("bninceptoin", num_classes=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`num_classes` None; give at least 1, or names as `classes`"),
        ({"num_classes": 0}, "`num_classes` 0; give at least 1"),
        ({"num_classes": 3, "classes": ["a", "b"]}, "`num_classes` 3 but 2 names in `classes`"),
        ({"classes": ["a", "a"]}, "`classes`: 2 names, 1 different"),
        ({"classes": "ab"}, "`classes` 'ab'; give a list of different names"),
        ({"classes": 3}, "`classes` 3; give a list of different names, or how many as `num_classes`"),
        ({"num_classes": "3"}, "`num_classes` '3'; give at least 1"),
        ({"num_classes": 2, "temporal": "lstm"}, "unknown temporal module 'lstm'"),
        ({"num_classes": 2, "dropout": 1.0}, "`dropout` 1.0; it must be a probability from 0"),
        ({"num_classes": 2, "size_px": 0}, "does not take an input of 0 px"),
        ({"num_classes": 2, "num_segments": 0}, "`num_segments` 0; it must be a whole number from 1"),
        ({"classes": [1, 2]}, "names are text"),
        ({"num_classes": 2, "weights": "imagenet"}, "bninception has no ImageNet weights to download by itself"),
        ({"num_classes": 2, "weights": "nowhere.pth"}, "nowhere.pth: no such model file"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        gs.create_model("bninception", **options)


@pytest.mark.slow
def test_the_whole_network_compiles_to_a_graph_that_agrees(model: VideoClassifier) -> None:
    x = clips(1, 4)
    exported = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(x), model(x), rtol=1e-4, atol=1e-6)


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(getattr(gs, name) is not None for name in gs.__all__)
    assert set(gs.__all__) <= set(dir(gs))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gs.nothing


def test_the_description_is_made_once_and_kept() -> None:
    pairs = [("left", "right")]
    options = {"num_segments": 4, "num_clips": 2, "mirror_pairs": pairs, "multi_label": True, "square_pixels": True}
    made = gs.create_model("test_resnet", classes=["left", "right"], sites=["layer1.0.conv2"], **options)
    assert {name: getattr(made.config, name) for name in options} == options | {"mirror_pairs": tuple(pairs)}
    assert made.config.sites == ("layer1.0.conv2",)
    assert [site[0] for site in describe_sites(made.backbone)] == ["GateShift"]
    for holder, name in ((made, "config"), (made.deploy(), "config"), (made.config, "size_px")):
        with pytest.raises(AttributeError):
            setattr(holder, name, None)


def test_a_new_classifier_is_for_other_classes_and_keeps_the_rest() -> None:
    made = gs.create_model("test_resnet", classes=["left", "right", "wave"], mirror_pairs=[("left", "right")]).double()
    before = made.backbone.state_dict()
    config = made.config
    made.reset_classifier(["left", "right"])
    assert made.config == dataclasses.replace(config, classes=("left", "right"))
    made.reset_classifier(num_classes=5)
    assert made.config == dataclasses.replace(config, classes=("0", "1", "2", "3", "4"), mirror_pairs=())
    assert made(clips(2, 3)).shape == (2, 5)
    assert made.head.weight.dtype == torch.float64
    assert made.head.weight.abs().max() < 0.01
    assert all(torch.equal(value, before[name]) for name, value in made.backbone.state_dict().items())
    for wrong in ([], ["a", "a"], "ab"):
        with pytest.raises(ModelError, match="give a list of different names"):
            made.reset_classifier(wrong)
    assert config.classes == ("left", "right", "wave")
