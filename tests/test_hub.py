"""Models on the Hub: pushed to and loaded from a server that speaks its HTTP API."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_server import TOKEN, Hub
from huggingface_hub import ModelCard, constants
from streaming_data import TinyNet

import gateshift as gs
from gateshift.errors import ModelError, SettingsError
from gateshift.evaluation.result import Evaluation
from gateshift.evaluation.scores import Scores
from gateshift.exported.loading import is_dense_file
from gateshift.model.classifier import VideoClassifier
from gateshift.published.hub import write_card
from gateshift.spotting.evaluate import FrameEvaluation

EVENTS = [gs.Event("v", "hit", frame=3, score=1.0), gs.Event("v", "bounce", frame=9, score=1.0)]
EVENT_SCORES = gs.score_events(EVENTS, EVENTS, fps=25)
SPANS = {"v": [gs.Span(0.0, 1.0, "hit", 1.0)]}
SPAN_SCORES = gs.score_spans(SPANS, SPANS, durations_s={"v": 2.0})
# Of the Hub's client, about how it sends large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own for large files
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


@pytest.fixture
def model() -> VideoClassifier:
    torch.manual_seed(0)
    return gs.create_model(
        "test_resnet", classes=["open|door", "close"], size_px=32, num_segments=4, num_clips=2
    ).eval()


@pytest.mark.slow
def test_a_model_that_is_pushed_is_loaded_the_same(hub: Hub, model: VideoClassifier) -> None:
    page = model.push_to_hub("user/name", token=TOKEN, license="mit", metrics={"top-1": 0.5125})
    assert page.startswith(f"{hub.url}/user/name/commit/")
    private, [(number, files)] = hub.repos["user/name"]
    assert not private
    assert sorted(files) == ["README.md", "model.safetensors"]
    revisions = ["", f"@{number}", "/model.safetensors", f"@{number}/model.safetensors"]
    for loaded in [
        *(gs.load_model(f"hf://user/name{suffix}") for suffix in revisions),
        gs.load_model("hf://user/name", "cpu", revision=number),
        gs.load_model(Path("hf://user/name")),
    ]:
        assert loaded.config == model.config
        assert all(torch.equal(loaded.state_dict()[key], value) for key, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.usefixtures("hub")
def test_the_kind_of_a_model_on_the_hub_is_known(model: VideoClassifier) -> None:
    model.push_to_hub("user/clips", token=TOKEN)
    classes = ["open|door", "close"]
    spotter = gs.create_model("test_resnet", classes=classes, size_px=32, num_segments=4, task="spot", head="none")
    spotter.eval().push_to_hub("user/events", token=TOKEN)
    names = ["hf://user/clips", "hf://user/events", "hf://user/events/model.safetensors"]
    assert [is_dense_file(Path(name)) for name in names] == [False, True, True]


@pytest.mark.slow
def test_a_second_push_is_another_commit_and_the_first_is_still_there(hub: Hub, model: VideoClassifier) -> None:
    first = model.push_to_hub("user/name", token=TOKEN).rpartition("/")[2]
    model.reset_classifier(["other"])
    model.push_to_hub("user/name", token=TOKEN)
    assert len(hub.repos["user/name"][1]) == 2
    assert gs.load_model("hf://user/name").classes == ("other",)
    assert gs.load_model(f"hf://user/name@{first}").classes == ("open|door", "close")


@pytest.mark.slow
@pytest.mark.usefixtures("hub")
def test_what_is_in_the_cache_needs_no_network(model: VideoClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    model.push_to_hub("user/name", token=TOKEN)
    gs.load_model("hf://user/name")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert gs.load_model("hf://user/name").config == model.config


@pytest.mark.slow
def test_a_private_model_needs_a_token(hub: Hub, model: VideoClassifier) -> None:
    model.push_to_hub("user/name", token=TOKEN, private=True)
    assert hub.repos["user/name"][0]
    with pytest.raises(ModelError, match="hf://user/name: no such repository, or a private one; check the name, or gi"):
        gs.load_model("hf://user/name")
    assert gs.load_model("hf://user/name", token=TOKEN).config == model.config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "revision", "message"),
    [
        ("hf://user/nothing", None, "no such repository, or a private one"),
        ("hf://user/name@v2", None, "has no revision 'v2'; give a branch, a tag or a commit"),
        ("hf://user/name", "v3", "has no revision 'v3'"),
        ("hf://user/name@v2", "v3", "names a revision, and so does `revision='v3'`"),
        ("hf://user/name", None, "has no model.safetensors; name its file as hf://user/name/FILE.safetensors"),
        ("hf://user/name/best.safetensors", None, "has no best.safetensors; name its file as hf://user/name/FILE.safe"),
        ("hf://user", None, "is no address of a model; give hf://user/name"),
        ("hf://us er/name", None, "is no name of a repository; give user/name"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(address: str, revision: str | None, message: str, hub: Hub) -> None:
    hub.repos["user/name"] = (False, [("1" * 40, {"README.md": b"no model"})])
    with pytest.raises(ModelError, match=message) as caught:
        gs.load_model(address, revision=revision)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_push_that_is_refused_is_told_in_one_line(
    hub: Hub, model: VideoClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for token in (None, "hf_reads"):
        with pytest.raises(ModelError, match="hf://user/name: permission denied; give `token` of one who may write"):
            model.push_to_hub("user/name", token=token)
    with pytest.raises(ModelError, match="is no name of a repository"):
        model.push_to_hub("us er/name", token=TOKEN)
    assert not hub.repos
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="hf://user/name: the Hub cannot be used: .*; check the network") as caught:
        model.push_to_hub("user/name", token=TOKEN)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("hub")
def test_no_network_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _: None)  # the Hub's client tries again, ever later
    with pytest.raises(
        ModelError, match="the Hub cannot be reached, and model.safetensors is not in its cache"
    ) as caught:
        gs.load_model("hf://user/name")
    assert "\n" not in str(caught.value)


def test_a_card_says_what_the_model_is(model: VideoClassifier) -> None:
    card = write_card(model, "user/name", license="apache-2.0", metrics={"top-1": 0.5125})
    data = ModelCard(card).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "gateshift", "video-classification")
    assert data.tags == ["gateshift", "action-recognition", "gsm"]
    for line in (
        'model = gs.load_model("hf://user/name")',
        "| test protocol | 4 segments × 2 clips × 1 crops |",
        "By 4 segments × 2 clips × 1 crops.",
        "| top-1 | 0.5125 |",
        "0. open\\|door",
        "1. close",
    ):
        assert f"\n{line}\n" in card
    assert "after layer4.0.conv2" in card
    plain = write_card(gs.create_model("test_resnet", "none", num_classes=1), "user/other")
    assert "Accuracy" not in plain and "license" not in plain and "| temporal modules | none |" in plain


def test_a_card_has_the_accuracies_of_a_test_and_what_it_confused(model: VideoClassifier) -> None:
    labels, answers = np.array([0, 0, 0, 1, 1]), [0, 1, 1, 1, 0]
    logits = np.eye(2, dtype=np.float32)[answers]
    found = Evaluation(Scores(tuple("abcde"), labels, logits, model.classes, "4 segments × 1 clips × 1 crops"))
    card = write_card(model, "user/name", metrics=found, license="mit")
    assert "\nBy 4 segments × 1 clips × 1 crops, on 5 videos.\n" in card
    assert "\n| licence | mit |\n" in card and "\n| top1 | 0.4 |\n" in card
    assert "## Most confused\n\n| class | answer | videos |\n| --- | --- | --- |\n| open\\|door | close | 2 |\n" in card
    assert card.index("## Accuracy") < card.index("## Most confused") < card.index("## Classes")


@pytest.mark.parametrize(
    ("task", "call", "found", "row"),
    [
        ("spot", "gs.spot_events(model, ", FrameEvaluation(EVENT_SCORES), "| map\\_1 | 1 |"),
        ("segment", "gs.find_events(model, ", FrameEvaluation(SPAN_SCORES), "| frame\\_accuracy | 1 |"),
    ],
)
def test_a_card_of_a_model_of_events_says_how_it_is_asked(
    task: Any, call: str, found: FrameEvaluation, row: str
) -> None:
    model = gs.create_model("test_resnet", task=task, classes=["hit", "bounce"], size_px=32, num_segments=4, fps=12.5)
    card = write_card(model, "user/name", metrics=found)
    assert f'\nprint({call}"recording.mp4"))\n' in card and "model.predict" not in card
    assert "| test protocol | an answer for each frame at 12.5 a second |" in card
    assert f"\n{row}\n" in card


def test_figures_without_names_are_no_metrics_of_a_card(model: VideoClassifier) -> None:
    with pytest.raises(SettingsError, match="^`metrics` of type float; give figures by their names"):
        write_card(model, "user/name", metrics=0.5)  # type: ignore[arg-type]


def test_a_card_says_what_else_a_model_asks_for(tmp_path: Path) -> None:
    own = VideoClassifier.wrap(TinyNet(), 12, num_classes=2, size_px=8, multi_label=True, whole_frame=True)
    gs.save_model(own, tmp_path / "m.safetensors", config=dataclasses.replace(own.config, abstain_below=0.25))
    card = write_card(gs.load_model(tmp_path / "m.safetensors", backbone=TinyNet()), "user/name")
    assert 'gs.load_model("hf://user/name", backbone=net)' in card
    assert "| confidence threshold | 0.25 |" in card
    assert "| labels of a video | any number |" in card
    assert "the whole frame made square" in card
