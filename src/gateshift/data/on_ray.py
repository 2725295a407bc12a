"""Work that Ray Data does: on all cores or GPUs of this machine, or on a cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gateshift.errors import ModelError, SettingsError

CONNECT_S = 10.0  # a cluster that does not answer by then is not there
TRIES = 3  # of a row, where something unforeseen goes wrong in a worker that goes on
Row = dict[str, Any]


def check_ray() -> None:
    """Raise SettingsError unless Ray Data is installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # a cluster started here tells nobody that it was
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"`engine=ray`: Ray Data cannot be imported ({error}); pip install 'gateshift[cluster]', or leave it out"
        ) from None


def check_cluster() -> None:
    """Raise SettingsError unless the cluster at RAY_ADDRESS, if there is to be one, answers."""
    address = _address()
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise SettingsError(f"RAY_ADDRESS {address}; it is HOST:PORT, ray://HOST:PORT, auto or local; correct it")
    try:  # Ray itself would wait for minutes, and then say it on a page
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from None


def _address() -> str:
    """Without an address, Ray would join whatever cluster was last started on this machine, dead ones too."""
    return os.environ.get("RAY_ADDRESS") or "local"


def _no_cluster(address: str, error: Exception) -> SettingsError:
    return SettingsError(
        f"RAY_ADDRESS {address}: {error}; start a cluster there, set RAY_AUTH_MODE=token if "
        "it asks for a token, or unset RAY_ADDRESS to use this machine alone"
    )


def map_on_ray(worker: Callable[..., Any], arguments: tuple[Any, ...], rows: Sequence[Row]) -> Iterator[Row]:
    """What workers make of rows, as they are done.

    Args:
        worker: A class: each worker makes one, of ``arguments`` and the number of its CPUs, and calls it with rows. The
            row that it gives has ``failure``, "" or why no row can be done.
        arguments: Travel to the workers.
        rows: Each is what one task does, and what is done again if its worker dies.

    Raises:
        SettingsError: If the cluster does not answer.
        ModelError: If a worker cannot work.
    """
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # each video has a time-out of its own
    context.retried_map_errors, context.max_map_retries = True, TRIES - 1
    address = _address()
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise _no_cluster(address, error) from None
    try:
        workers, cpus, gpus = shares([node["Resources"] for node in ray.nodes() if node["Alive"]])
        pool = ray.data.ActorPoolStrategy(min_size=1, initial_size=min(workers, len(rows)))
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            worker, fn_constructor_args=(*arguments, cpus), compute=pool, num_cpus=cpus, num_gpus=gpus
        )
        for batch in done.iter_batches(batch_size=None, prefetch_batches=0):  # none waits for the next
            for values in zip(*batch.values(), strict=True):
                row = dict(zip(batch, values, strict=True))
                if row["failure"]:
                    raise ModelError(f"a worker of the cluster: {row['failure']}")
                yield row
    finally:
        ray.shutdown()


def shares(nodes: Sequence[dict[str, float]]) -> tuple[int, int, int]:
    """How many workers there is room for, and the CPUs and GPUs of each: one of the scarcer kind."""
    with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
    if not with_gpus:
        return max(sum(int(node.get("CPU", 0)) for node in nodes), 1), 1, 0
    cpus = min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpus)
    return sum(int(node["GPU"]) for node in with_gpus), max(cpus, 1), 1
