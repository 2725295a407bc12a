"""A module in the place of a layer that computes what the layer does in another way; names of weights stay."""

from __future__ import annotations

from typing import Any

from torch import nn


class StandIn(nn.Module):
    """Stands where a layer was; in a state_dict the layer's tensors have the names that they had there.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.train(layer.training)
        self.register_state_dict_post_hook(_leave_out_layer)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_in_layer)  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Any:
        """What the network asks of the layer itself."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


def _leave_out_layer(_: nn.Module, state: dict[str, Any], prefix: str, __: Any) -> None:
    _rename(state, f"{prefix}layer.", prefix)


def _put_in_layer(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    _rename(state, prefix, f"{prefix}layer.")


def _rename(state: dict[str, Any], before: str, after: str) -> None:
    for key in [key for key in state if key.startswith(before)]:
        state[after + key.removeprefix(before)] = state.pop(key)
