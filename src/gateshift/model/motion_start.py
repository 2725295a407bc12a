"""The start that knows motion: weights that come with the library, learned on drawn clips; see docs/motion-start.md."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from gateshift.errors import ModelError
from gateshift.model.surgery.insert import InsertReport
from gateshift.model.temporal.site import fit_layers

MOTION = "motion"
BACKBONE, TEMPORAL = "tf_efficientnet_lite0", "gsm"
FILE = Path(__file__).parents[1] / "starts" / "motion.safetensors"


def load_motion(net: nn.Module, backbone: str, report: InsertReport, *, causal: bool) -> None:
    """Start a network from the shipped weights: gates and all, or the backbone alone where its modules have no weights.

    Args:
        net: EfficientNet-Lite0 with temporal modules, changed in place.
        backbone: Its name.
        report: Of the modules.
        causal: Whether they look only back.

    Raises:
        ModelError: If it is another network than the one that was trained.
    """
    if backbone != BACKBONE:
        raise ModelError(f"{MOTION} is a start of {BACKBONE}, and `backbone` is {backbone}; leave one of them out")
    trained = {name.removeprefix("backbone."): tensor for name, tensor in load_file(FILE).items()}
    trained = {name: tensor for name, tensor in trained.items() if not name.startswith("head.")}
    own = net.state_dict()
    if report.temporal != TEMPORAL and report.temporal not in ("none", "tsm"):
        raise ModelError(
            f"{MOTION} is a start of {TEMPORAL}, and also for none and tsm; `temporal` is {report.temporal}"
        )
    if report.temporal == TEMPORAL:
        if trained.keys() != own.keys() or report.interleave or causal or _shapes(trained) != _shapes(own):
            raise ModelError(
                f"{MOTION} is a start of {TEMPORAL} at all sites and channels, that looks both ways, without "
                "interleave; leave the options that say otherwise out"
            )
        net.load_state_dict(trained)
    else:
        net.load_state_dict(fit_layers(trained, net))


def _shapes(state: dict[str, Tensor]) -> list[tuple[int, ...]]:
    return [tuple(state[name].shape) for name in sorted(state)]
