"""The examples for clusters: what a scheduler requires of them, and that the command in them is understood."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateshift.cli.main import parse
from gateshift.training.settings import TrainSettings

EXAMPLES = Path(__file__).parent.parent / "examples"
SLURM = EXAMPLES / "slurm" / "train.sbatch"
KUBERNETES = EXAMPLES / "kubernetes" / "train.yaml"


def settings_of(launch: list[str]) -> TrainSettings:
    """The settings of a training that torchrun is to start."""
    assert launch[0] == "torchrun"
    place = launch.index("gateshift")
    assert launch[place - 1] == "-m"
    settings = parse(launch[place + 1 :])
    assert isinstance(settings, TrainSettings)
    return settings


def options_of(launch: list[str]) -> dict[str, str]:
    """What torchrun itself is told: options and values, up to its -m."""
    words = [part for word in launch[1 : launch.index("-m")] for part in word.split("=", 1)]
    return {word: after for word, after in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the Slurm script starts on each machine, as it is after the shell, with stand-ins for Slurm's commands."""
    folder = tmp_path_factory.mktemp("slurm")
    programs = {"srun": 'printf "%s\\n" "$@"', "scontrol": "printf 'node7\\nnode8\\n'"}
    for name, line in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "31"}
    slurm |= {"SLURM_GPUS_ON_NODE": "4", "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "RUN": "my run"}
    done = subprocess.run(["bash", str(SLURM)], env=slurm, capture_output=True, text=True, timeout=30, check=True)
    words = done.stdout.splitlines()
    return words[words.index("torchrun") :]


def test_the_slurm_script_is_one_that_bash_reads() -> None:
    subprocess.run(["bash", "-n", str(SLURM)], check=True, timeout=30)


def test_slurm_finds_its_options_before_the_first_command() -> None:
    lines = SLURM.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    given = [number for number, line in enumerate(lines) if line.startswith("#SBATCH --")]
    assert len(given) >= 8
    assert max(given) < first_command
    assert not any(re.search(r"SBATCH.*#", lines[number][1:]) for number in given)  # Slurm would take it for a value


def test_the_slurm_script_starts_a_training_that_goes_on(launch: list[str]) -> None:
    settings = settings_of(launch)
    settings.check()
    assert settings.resume == "auto"
    assert str(settings.out) == "my run"


def test_the_slurm_script_tells_torchrun_of_every_machine(launch: list[str]) -> None:
    options = options_of(launch)
    assert options["--nnodes"] == "2"
    assert options["--nproc-per-node"] == "4"
    assert options["--rdzv-id"] == "31"
    assert options["--rdzv-endpoint"] == "node7:29500"
    assert settings_of(launch).optim.batch_size % 8 == 0


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    (document,) = yaml.safe_load_all(KUBERNETES.read_text())
    return document


def test_the_kubernetes_job_has_what_kubernetes_requires(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] in ("Never", "OnFailure")  # of a Job; a pod's own default is refused
    for container in pod["containers"]:
        assert container["name"]
        assert container["image"]
        assert all(isinstance(word, str) for word in container["command"])


def test_the_kubernetes_job_mounts_the_volumes_that_it_names(job: dict[str, Any]) -> None:
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    settings = settings_of(container["command"])
    for path in (settings.train, settings.val, settings.out):
        assert mounts["data"] in path.parents


def test_the_kubernetes_job_starts_a_training_that_goes_on_with_a_process_for_each_gpu(job: dict[str, Any]) -> None:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    settings = settings_of(container["command"])
    settings.check()
    assert settings.resume == "auto"
    processes = int(options_of(container["command"])["--nproc-per-node"])
    assert processes == container["resources"]["limits"]["nvidia.com/gpu"]
    assert settings.optim.batch_size % processes == 0
