"""In which form and precision a model answers, and that `auto` takes bf16 only where it is as good."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from streaming_data import trained

import gateshift as gs
from gateshift import devices
from gateshift.cli.main import main
from gateshift.errors import ModelError, SettingsError
from gateshift.evaluation.evaluate import evaluate
from gateshift.evaluation.fast_form import NUM_PROVING, ChosenPrecision, fast_form
from gateshift.exported.loading import ExportedModel
from gateshift.exporting.export import export
from gateshift.model.classifier import DeployedClassifier, VideoClassifier

SIZE_PX = 32
SLOW = "this CPU has neither AMX nor AVX512-BF16"


def make_model(**options: Any) -> VideoClassifier:
    torch.manual_seed(0)
    options = {"num_classes": 3, **options} if "classes" not in options else options
    return trained(gs.create_model("test_resnet", num_segments=4, size_px=SIZE_PX, **options))


@pytest.fixture
def model() -> VideoClassifier:
    return make_model()


@pytest.fixture
def set_bf16(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Let this machine's CPU be one that multiplies fast in bf16, or none."""

    def pretend(is_fast: bool) -> None:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: is_fast)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)

    return pretend


def random_clips(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 4, 3, SIZE_PX, SIZE_PX), generator=generator, dtype=torch.uint8)


@pytest.mark.slow
def test_a_model_answers_deployed_and_in_the_precision_asked_for(model: VideoClassifier) -> None:
    clips = random_clips(4)
    exact, low = fast_form(model), fast_form(model, "bf16")
    assert isinstance(exact, DeployedClassifier)
    assert isinstance(low, DeployedClassifier)
    assert (exact.dtype, low.dtype) == (torch.float32, torch.bfloat16)
    assert (fast_form(model), fast_form(model, "bf16")) == (exact, low)  # made once
    with torch.no_grad():
        torch.testing.assert_close(exact(clips), model(clips), rtol=0, atol=2e-5)
        assert low(clips).dtype == torch.float32
        assert 0 < (low(clips) - exact(clips)).abs().max() < 0.1


@pytest.mark.slow
def test_forms_are_made_anew_when_the_weights_change(model: VideoClassifier) -> None:
    before = fast_form(model, "bf16")
    with torch.no_grad():
        model.head.bias.add_(1)
    assert fast_form(model, "bf16") is not before


def test_a_network_that_computes_something_else_is_not_replaced() -> None:
    class Twice(VideoClassifier):
        def forward(self, clips: Any) -> torch.Tensor:
            return 2 * super().forward(clips)

    model = make_model()
    model.__class__ = Twice
    clips = random_clips(2)
    with torch.no_grad():
        assert torch.equal(fast_form(model)(clips), model(clips))
        low = fast_form(model, "bf16")(clips)
        assert low.dtype == torch.float32
        assert 0 < (low - model(clips)).abs().max() < 0.2


@pytest.mark.slow
def test_auto_is_float32_where_the_machine_gains_nothing(model: VideoClassifier, set_bf16: Any) -> None:
    set_bf16(False)
    form = fast_form(model, "auto")
    with torch.no_grad():
        assert torch.equal(form(random_clips(20)), fast_form(model)(random_clips(20)))
    assert str(form) == f"precision: float32, as {SLOW}"
    assert fast_form(form, "auto") is form


@pytest.mark.slow
def test_auto_is_bf16_once_it_has_named_the_same_classes(model: VideoClassifier, set_bf16: Any) -> None:
    set_bf16(True)
    form, exact, low = fast_form(model, "auto"), fast_form(model), fast_form(model, "bf16")
    assert str(form) == "precision: float32, as no clip was classified"
    clips = random_clips(4)
    with torch.no_grad():
        assert torch.equal(exact(clips).argmax(1), low(clips).argmax(1))
        for _ in range(NUM_PROVING // 4):
            assert torch.equal(form(clips), exact(clips))
        assert torch.equal(form(clips), low(clips))
    assert str(form) == "precision: bf16, as the first 16 clips have the classes of float32"


@pytest.mark.slow
@pytest.mark.parametrize("multi_label", [False, True])
def test_auto_stays_with_float32_where_bf16_names_another_class(multi_label: bool, set_bf16: Any) -> None:
    set_bf16(True)
    model = make_model(multi_label=multi_label)
    clips = random_clips(8)
    with torch.no_grad():
        # Nearly a tie for the first clip: float32 tells the classes apart, bf16 says the other.
        model.head.weight[1:] = model.head.weight[0] if not multi_label else 0.0
        low, exact = (fast_form(model, each)(clips)[0] for each in ("bf16", "no"))  # type: ignore[arg-type]
        if multi_label:
            model.head.bias[0] -= (low[0] + exact[0]) / 2
        else:
            model.head.weight[1:] = -model.head.weight[0]
            low, exact = (fast_form(model, each)(clips)[0] for each in ("bf16", "no"))  # type: ignore[arg-type]
            model.head.bias[0] -= (low[0] - low[1] + exact[0] - exact[1]) / 2
            model.head.bias[2] = -100.0
        form = fast_form(model, "auto")
        for _ in range(4):
            assert torch.equal(form(clips), fast_form(model)(clips))
    assert str(form) == "precision: float32, as a clip has another class in bf16"


@pytest.mark.slow
def test_precisions_that_a_model_cannot_have_are_refused(model: VideoClassifier, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="`precision=fp16` needs a GPU; take `precision=bf16`"):
        fast_form(model, "fp16")
    with pytest.raises(SettingsError, match="`precision` 'float16'; choose one of no, bf16, fp16, auto"):
        fast_form(model, "float16")  # type: ignore[arg-type]  # what export calls it
    with pytest.raises(ModelError, match="training mode"):
        fast_form(model.train(), "auto")
    # Without gates: what is written costs time for each.
    named = make_model(temporal="none", classes=sorted(path.name for path in (clips / "val").iterdir()))
    gs.save_model(named, tmp_path / "m.safetensors")
    export(tmp_path / "m.safetensors", clips / "val", format="torch", out=tmp_path / "m.pt2", workers=0)
    exported = ExportedModel(tmp_path / "m.pt2")
    with pytest.raises(SettingsError, match=r"`precision=bf16`: .*m\.pt2 has the precision that it was exported in"):
        fast_form(exported, "bf16")
    assert str(fast_form(exported, "auto")) == "precision: float32, as an exported file has its own"


@pytest.mark.slow
def test_the_command_line_tells_what_auto_chose(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], set_bf16: Any
) -> None:
    set_bf16(False)
    model = make_model(classes=sorted(path.name for path in (clips / "val").iterdir()))
    gs.save_model(model, tmp_path / "m.safetensors")
    main(["predict", str(tmp_path / "m.safetensors"), str(clips / "val"), "--precision", "auto"])
    assert capsys.readouterr().err.splitlines() == [f"gateshift: precision: float32, as {SLOW}"]
    main(["test", str(tmp_path / "m.safetensors"), str(clips / "val"), "--precision", "auto", "--workers", "0"])
    assert f"precision: float32, as {SLOW}" in capsys.readouterr().out.splitlines()
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "m.safetensors"), "a.mp4", "--stream", "--precision", "bf16"])
    assert "--precision bf16: a stream and Ray answer in float32; leave it out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_test_finds_the_same_in_every_form(clips: Path) -> None:
    model = make_model(classes=sorted(path.name for path in (clips / "val").iterdir()))
    exact, low, chosen = (
        evaluate(model, clips / "val", workers=0, precision=each)
        for each in ("no", "bf16", "auto")  # type: ignore[arg-type]
    )
    torch.testing.assert_close(*map(torch.from_numpy, (low.scores.logits, exact.scores.logits)), rtol=0, atol=0.1)
    torch.testing.assert_close(*map(torch.from_numpy, (chosen.scores.logits, exact.scores.logits)), rtol=0, atol=0.1)
    assert exact.notes == low.notes == ()
    assert len(chosen.notes) == 1
    assert devices.why_bf16_is_slow(torch.device("cpu")) in (None, SLOW)


def test_forms_nest_in_one_another(model: VideoClassifier) -> None:
    form = fast_form(model, "auto")
    assert isinstance(form, ChosenPrecision)
    assert fast_form(form) is form
    clip = random_clips(1)[0].permute(0, 2, 3, 1)
    assert gs.predict  # the public function takes forms as models
    assert model.predict(clip, precision="auto").label == model.predict(clip).label
