"""The container: built where a builder is, and everywhere checked against what it copies, installs and runs."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from gateshift.cli.main import parse
from gateshift.cli.verb_list import VERBS
from gateshift.errors import SettingsError
from gateshift.recipes.recipe import tomllib

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "RUN", "USER", "WORKDIR"}


def instructions(text: str) -> list[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    pairs = [line.split(maxsplit=1) for line in lines.replace("\\\n", " ").splitlines()]
    return [(word.upper(), value) for word, value in pairs]


def is_sent(path: str) -> bool:
    """Whether the builder is given a path of the repository: the last line of .dockerignore that fits it counts."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch(path, pattern):
            sent = line.startswith("!")
    return sent


def faults(text: str) -> list[str]:
    """What is wrong with a Dockerfile of this repository, a line each."""
    found, stages, declared = [], list[str](), set[str]()
    given = instructions(text)
    for word, value in given:
        if word not in KNOWN:
            found.append(f"no instruction {word}")
        if word == "ARG":
            declared.add(value.partition("=")[0])
        for name in re.findall(r"\$\{(\w+)\}", value):
            if name not in declared | {"PATH"}:
                found.append(f"{name} is not declared")
        if word == "FROM":
            stages += re.findall(r" AS (\w+)$", value)
        if word == "COPY":
            found += copy_faults(shlex.split(value), stages)
        if word == "RUN":
            extras = re.findall(r"'\.\[(.*)\]'", value)
            found += [f"no extra {each}" for each in extras if each not in PROJECT["optional-dependencies"]]
    last = dict(given[max(n for n, each in enumerate(given) if each[0] == "FROM") :])
    if last.get("USER", "root") == "root":
        found.append("runs as root")
    try:
        program, *words = (*json.loads(last["ENTRYPOINT"]), *json.loads(last["CMD"]))
    except (KeyError, ValueError):
        return [*found, "ENTRYPOINT and CMD are lists of words"]
    if program not in PROJECT["scripts"]:
        found.append(f"no program {program}")
    try:
        settings = parse(words)
    except SettingsError as error:
        return [*found, str(error)]
    if type(settings) is not VERBS["serve"].settings_type() or settings.host != "0.0.0.0":
        found.append("does not serve other machines")
    elif str(settings.port) != last.get("EXPOSE"):
        found.append("exposes another port")
    return found


def copy_faults(words: Sequence[str], stages: Sequence[str]) -> list[str]:
    if words[0].startswith("--from="):
        stage = words[0].partition("=")[2]
        return [] if stage in stages else [f"no stage {stage}"]
    sources = words[:-1]
    missing = [f"{each} is not there" for each in sources if not (ROOT / each).exists()]
    return missing + [f"{each} is not sent" for each in sources if (ROOT / each).exists() and not is_sent(each)]


def test_it_copies_installs_and_runs_what_there_is() -> None:
    assert faults(TEXT) == []
    python = re.findall(r"^ARG PYTHON=3\.(\d+)$", TEXT, re.MULTILINE)
    assert f"Programming Language :: Python :: 3.{python[0]}" in PROJECT["classifiers"]


def test_all_that_a_wheel_is_made_of_is_sent_and_nothing_else() -> None:
    sources = {each for word, value in instructions(TEXT) if word == "COPY" for each in value.split()[:-1]}
    assert {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "src"} <= sources
    assert not any(is_sent(each) for each in (".git", ".venv", "benchmarks", "docs", "tests", "runs"))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("COPY src ./src", "COPY source ./src", "source is not there"),
        ("COPY src ./src", "COPY tests ./src", "tests is not sent"),
        ("--from=build", "--from=builder", "no stage builder"),
        ("'.[demo]'", "'.[web]'", "no extra web"),
        ("ARG TORCH=cpu\n", "", "TORCH is not declared"),
        ("USER gateshift\n", "", "runs as root"),
        ('"serve"', '"sreve"', "sreve: no such command; did you mean serve?"),
        ('"--host"', '"--hots"', "serve has no option --hots; did you mean --host?"),
        (', "--host", "0.0.0.0"', "", "does not serve other machines"),
        ("EXPOSE 7860", "EXPOSE 8000", "exposes another port"),
        ("WORKDIR /source", "CD /source", "no instruction CD"),
    ],
)
def test_a_slip_in_it_is_found(old: str, new: str, fault: str) -> None:
    assert TEXT.count(old) >= 1
    assert fault in faults(TEXT.replace(old, new))


@pytest.mark.slow
def test_it_is_built_and_answers() -> None:
    builder = next((each for each in ("docker", "podman") if can_build(each)), None)
    if builder is None:
        pytest.skip("no container builder runs here: neither docker nor podman")
    subprocess.run([builder, "build", "--tag", "gateshift-test", str(ROOT)], check=True, timeout=3600)
    command = [builder, "run", "--rm", "gateshift-test", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == f"gateshift {PROJECT['version']}\n"


def can_build(program: str) -> bool:
    """Whether a builder is installed, and does what it is asked for."""
    if shutil.which(program) is None:
        return False
    return subprocess.run([program, "info"], capture_output=True, timeout=60).returncode == 0
