"""Models on the Hugging Face Hub: one file with everything in it, and a card that says what it is."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gateshift.data.regions import region_text
from gateshift.errors import ModelError, SettingsError, one_line
from gateshift.model.classifier import VideoClassifier
from gateshift.model.config import OWN, ModelConfig
from gateshift.model.io import save_model
from gateshift.model.surgery.insert import find_temporal
from gateshift.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from gateshift.evaluation.result import Evaluation

FILE = "model.safetensors"
MOST_CONFUSED = 10  # pairs of classes on a card
_ADDRESS = re.compile(r"(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<file>.+))?")
# What a model of each task does, and how it is asked.
_TASKS = {
    "clip": ("classifies videos into", 'model.predict("clip.mp4").top'),
    "spot": ("finds events in recordings, to the frame, of", 'gs.spot_events(model, "recording.mp4")'),
    "segment": ("finds spans in recordings of", 'gs.find_events(model, "recording.mp4")'),
}
_CARD = """---
{metadata}
---
# {name}

A model of gateshift that {does} {num_classes} classes: {network}.

```python
import gateshift as gs

model = gs.load_model("hf://{repo}"{own})
print({call})
```

| | |
| --- | --- |
| network | {backbone}, input {size_px} x {size_px} px, {view} |
| temporal modules | {sites} |
| test protocol | {protocol} |
| labels of a video | {labels} |
{box}{threshold}| licence | {license} |

{metrics}{mistakes}## Classes

{classes}
"""


@runtime_checkable
class HasFigures(Protocol):
    """What is found of a model that answers for each frame, by :func:`gateshift.evaluate_frames`."""

    def figures(self) -> Mapping[str, float]:
        """Its figures by their names, in 0..1."""
        ...


def fetch(address: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Fetch a model's file from the Hub, once: what is in the Hub's cache is not fetched again.

    Args:
        address: "user/name", "user/name@revision", or either with "/file.safetensors" behind it, if the file is not
            ``model.safetensors``.
        revision: Branch, tag or commit.
        token: For a private model; by default what ``hf auth login`` has saved, or HF_TOKEN.

    Returns:
        The file in the cache.

    Raises:
        ModelError: If there is no such model, or it may not be read, or the Hub cannot be reached.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise ModelError(f"hf://{address}: is no address of a model; give hf://user/name")
    if revision is not None and parts["revision"] is not None:
        raise ModelError(f"hf://{address}: names a revision, and so does `revision={revision!r}`; give one of them")
    revision = revision or parts["revision"]
    with _told(parts["repo"], revision or "main", parts["file"] or FILE):
        return Path(_api(token).hf_hub_download(parts["repo"], parts["file"] or FILE, revision=revision))


def push(
    model: VideoClassifier,
    repo: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    metrics: Mapping[str, float] | Evaluation | HasFigures | None = None,
    license: str | None = None,
    message: str = "Upload a gateshift model",
) -> str:
    """Put a model and its card on the Hub, in one commit; see :meth:`VideoClassifier.push_to_hub`.

    Returns:
        The address of the commit's page.

    Raises:
        ModelError: If the model cannot be saved, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import CommitOperationAdd

    card = write_card(model, repo, metrics=metrics, license=license)
    with TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        save_model(model, file)
        with _told(repo, "main", FILE):
            api = _api(token)
            api.create_repo(repo, private=private, exist_ok=True)
            files = [CommitOperationAdd(FILE, file), CommitOperationAdd("README.md", card.encode())]
            return str(api.create_commit(repo, files, commit_message=message).commit_url)


def _api(token: str | None) -> HfApi:
    from huggingface_hub import HfApi

    # Read now, as a notebook may set it after something else has imported the Hub's client.
    return HfApi(os.environ.get("HF_ENDPOINT"), token=token, library_name="gateshift", library_version=__version__)


def write_card(
    model: VideoClassifier,
    repo: str,
    *,
    metrics: Mapping[str, float] | Evaluation | HasFigures | None = None,
    license: str | None = None,
) -> str:
    """The text of a model card: metadata for the Hub, how to use the model, its protocol, accuracies and classes.

    Args:
        model: That the card is of.
        repo: "user/name", where it will be.
        metrics: What is known of its accuracy: figures by their names, or what :func:`gateshift.evaluate` gives, of
            which the card also has the protocol, the number of videos, and the classes that were confused most; or
            what :func:`gateshift.evaluate_frames` gives.
        license: The model's, such as "apache-2.0"; None says that it is not stated.

    Returns:
        Markdown, with the Hub's metadata in front.
    """
    from huggingface_hub import ModelCardData

    config, report = model.config, find_temporal(model.backbone)
    metadata = ModelCardData(
        library_name="gateshift",
        pipeline_tag="video-classification",
        tags=["gateshift", "action-recognition", config.temporal if report.sites else "tsn"],
        license=license,
    )
    sites = "; ".join(f"{site.side} {site.name}" for site in report.sites)
    protocol, figures, mistakes = _told_figures(config, metrics)
    rows = "".join(f"| {_plain(name)} | {value:.4g} |\n" for name, value in figures.items())
    does, call = _TASKS[config.task]
    threshold = config.abstain_below
    return _CARD.format(
        metadata=metadata.to_yaml(),
        name=repo.rpartition("/")[2],
        repo=repo,
        does=does,
        call=call,
        num_classes=len(config.classes),
        network=f"{_plain(config.backbone)} with {config.temporal}" if report.sites else _plain(config.backbone),
        own=", backbone=net" if config.backbone.startswith(OWN) else "",
        backbone=_plain(config.backbone),
        size_px=config.size_px,
        view="the whole frame made square" if config.whole_frame else "cut out of the frame",
        box="" if config.box is None else f"| box | {region_text(config.box)} of the picture |\n",
        sites=f"{report.title}: {sites}" if sites else "none",
        protocol=_protocol(config),
        labels="any number" if config.multi_label else "one",
        threshold="" if threshold is None else f"| confidence threshold | {threshold:.4g} |\n",
        license=_plain(license or "not stated"),
        metrics=f"## Accuracy\n\nBy {protocol}.\n\n| | |\n| --- | --- |\n{rows}\n" if rows else "",
        mistakes=mistakes,
        classes="\n".join(f"{number}. {_plain(name)}" for number, name in enumerate(config.classes)),
    )


def _told_figures(
    config: ModelConfig, metrics: Mapping[str, float] | Evaluation | HasFigures | None
) -> tuple[str, Mapping[str, float], str]:
    """How a model was tested, its figures, and the part of the card about its mistakes."""
    from gateshift.evaluation.result import Evaluation

    if metrics is None or isinstance(metrics, Mapping):
        return _protocol(config), metrics or {}, ""
    if isinstance(metrics, HasFigures):
        return _protocol(config), metrics.figures(), ""
    if not isinstance(metrics, Evaluation):
        raise SettingsError(
            f"`metrics` of type {type(metrics).__name__}; give figures by their names, or what `evaluate` gives"
        )
    protocol = f"{metrics.scores.protocol}, on {len(metrics.scores.labels)} videos"
    return protocol, metrics.accuracies(), _mistakes(metrics)


def _mistakes(found: Evaluation) -> str:
    """The classes that were mistaken for another most often, of videos with one label each."""
    from gateshift.evaluation.metrics import confusion
    from gateshift.evaluation.report_figures import confused_pairs

    scores = found.scores
    if scores.multi_label:
        return ""
    pairs = confused_pairs(confusion(scores.logits, scores.labels))[:MOST_CONFUSED]
    rows = "".join(
        f"| {_plain(scores.classes[label])} | {_plain(scores.classes[answer])} | {count} |\n"
        for label, answer, count in pairs
    )
    return f"## Most confused\n\n| class | answer | videos |\n| --- | --- | --- |\n{rows}\n" if rows else ""


def _protocol(config: ModelConfig) -> str:
    if config.is_dense:
        return f"an answer for each frame {f'at {config.fps:g} a second' if config.fps else 'of the file'}"
    segments = "segments not known" if config.num_segments is None else f"{config.num_segments} segments"
    return f"{segments} × {config.num_clips} clips × {config.num_crops} crops"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


@contextmanager
def _told(repo: str, revision: str, file: str) -> Iterator[None]:
    """What goes wrong with a repository, in one line."""
    from huggingface_hub import errors

    where = f"hf://{repo}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{where}: its owner must let you read it; ask for it on its page, and give `token`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{where}: no such repository, or a private one; check the name, or give `token` of one who may use it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{where}: has no revision {revision!r}; give a branch, a tag or a commit of it") from error
    except errors.HFValidationError as error:
        raise ModelError(f"{where}: is no name of a repository; give user/name") from error
    except errors.LocalEntryNotFoundError as error:  # an EntryNotFoundError too
        raise ModelError(
            f"{where}: the Hub cannot be reached, and {file} is not in its cache; check the network"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ModelError(f"{where}: has no {file}; name its file as {where}/FILE.safetensors") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ModelError(f"{where}: permission denied; give `token` of one who may write to it") from error
        reason = (error.server_message or str(error)).partition("\n")[0]
        raise ModelError(f"{where}: the Hub refuses with status {status}: {reason}; try again later") from error
    except Exception as error:  # of the network: the Hub's client has changed what it is built on, and will again
        reason = one_line(error) or type(error).__name__
        raise ModelError(f"{where}: the Hub cannot be used: {reason}; check the network") from error
