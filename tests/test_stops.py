"""Trainings that are stopped, killed or run out of disk go on, and end with the weights of one never stopped."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trainings import Log, StopAt, assert_same_run, few_to_validate, start_process

from gateshift.cli.main import main
from gateshift.errors import SettingsError, StoppedError
from gateshift.recipes.options import AugmentOptions, ModelOptions, OptimOptions
from gateshift.training import state as checkpoints
from gateshift.training.loop import run_training
from gateshift.training.run_folder import RunFolder
from gateshift.training.settings import TrainSettings
from gateshift.training.state import StopRequest

pytestmark = pytest.mark.usefixtures("no_pictures")

SMALL = ["--backbone", "test_resnet", "--size", "32", "--segments", "2", "--batch-size", "2", "--warmup-epochs", "0"]
SMALL += ["--recipe", "papers"]
EPOCHS = 3
KILLS = 20
# What a run may be short of, in KiB; whole it needs about 3,000.
DISKS_KIB = (300, 900, 1300, 1900, 2400)


@pytest.fixture(scope="module")
def clips(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_to_validate(clips, tmp_path_factory.mktemp("few"))


def settings_for(clips: Path, out: Path, **changes: Any) -> TrainSettings:
    """10 videos, 5 batches and 3 updates an epoch, and everything that has a memory of its own."""
    return TrainSettings(
        train=clips / "train.csv",
        val=clips / "val.csv",
        out=out,
        model=ModelOptions(backbone="test_resnet", segments=2, size=32, drop_path=0.2),
        optim=OptimOptions(epochs=2, warmup_epochs=0, batch_size=2, accumulate=2, ema=0.9, schedule="cosine-step"),
        augment=AugmentOptions(mixup=0.2, rand_augment=5),
        **{"workers": 0, "save_minutes": 1000.0, **changes},
    )


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    return run_training(settings_for(clips, tmp_path_factory.mktemp("whole") / "run")).path


@pytest.mark.slow
@pytest.mark.parametrize("batches", (2, 5, 6, 10))
def test_a_training_stopped_at_any_batch_ends_as_if_it_had_not_been(
    clips: Path, whole: Path, tmp_path: Path, batches: int
) -> None:
    stopping = StopAt(batches)
    with pytest.raises(StoppedError, match=r"stopped after .*; resume with .* `resume=True`") as stopped:
        run_training(settings_for(clips, tmp_path / "run"), stopping, stopping.request)
    assert stopped.value.exit_code == 143
    run_training(settings_for(clips, tmp_path / "run", resume=True))
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_training_that_is_stopped_while_it_validates_ends_as_if_it_had_not_been(
    clips: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateshift.training import loop as module

    request, score_videos = StopRequest(), module.score_videos

    def ask_and_score(*arguments: Any, **options: Any) -> Any:
        request.signal = signal.SIGINT
        return score_videos(*arguments, **options)

    monkeypatch.setattr(module, "score_videos", ask_and_score)
    with pytest.raises(StoppedError, match="after batch 5 of epoch 1"):
        run_training(settings_for(clips, tmp_path / "run"), stop=request)
    monkeypatch.undo()
    run_training(settings_for(clips, tmp_path / "run", resume=True))
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.slow
def test_the_log_says_how_long_each_epoch_took_stopped_or_not(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(StopAt):
        """Each batch takes ten seconds, and nothing else any time."""

        now_s = 0.0

        @contextmanager
        def epoch(self, number: int, num_epochs: int, num_batches: int) -> Iterator[Callable[..., None]]:
            with super().epoch(number, num_epochs, num_batches) as count:

                def tell(**sums: float) -> None:
                    self.now_s += 10
                    count(**sums)

                yield tell

        def monotonic(self) -> float:
            return self.now_s

    stopped, resumed = Clock(7), Clock(0)
    monkeypatch.setattr(checkpoints, "time", stopped)
    with pytest.raises(StoppedError):
        run_training(settings_for(clips, tmp_path / "run"), stopped, stopped.request)
    monkeypatch.setattr(checkpoints, "time", resumed)
    folder = run_training(settings_for(clips, tmp_path / "run", resume=True), resumed, resumed.request)
    assert [row["seconds"] for row in folder.read_log()] == [50, 50]


@pytest.mark.slow
def test_videos_left_out_before_a_stop_stay_counted_after_it(clips: Path, tmp_path: Path) -> None:
    listed = shutil.copytree(clips, tmp_path / "clips")
    videos = [line.split(",")[0] for line in (listed / "train.csv").read_text().splitlines()[1:]]
    for video in videos[:4]:
        (listed / video).write_bytes(b"no video")
    run_training(settings_for(listed, tmp_path / "whole", skip_bad=4))
    stopping = StopAt(2)
    with pytest.raises(StoppedError):
        run_training(settings_for(listed, tmp_path / "run", skip_bad=4), stopping, stopping.request)
    run_training(settings_for(listed, tmp_path / "run", skip_bad=4, resume=True))
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert (tmp_path / "run" / "skipped.csv").read_text() == (tmp_path / "whole" / "skipped.csv").read_text()


@pytest.mark.slow
def test_a_damaged_state_is_passed_over_for_the_one_before(clips: Path, whole: Path, tmp_path: Path) -> None:
    stopping, log = StopAt(6), Log()
    with pytest.raises(StoppedError):
        run_training(settings_for(clips, tmp_path / "run", save_minutes=0), stopping, stopping.request)
    for path in (tmp_path / "run" / "state").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    run_training(settings_for(clips, tmp_path / "run", resume=True), log)
    assert "state.old, saved 2" in log.lines[0] and "after epoch 1 of 2" in log.lines[0]
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_random_state_that_is_missing_is_not_passed_over_in_silence(clips: Path, tmp_path: Path) -> None:
    stopping = StopAt(2)
    with pytest.raises(StoppedError):
        run_training(settings_for(clips, tmp_path / "run"), stopping, stopping.request)
    (tmp_path / "run" / "state" / "random_states_0.pkl").unlink()
    with pytest.raises(Exception, match="is damaged; start a new run"):
        run_training(settings_for(clips, tmp_path / "run", resume=True))


@pytest.mark.slow
def test_resume_auto_begins_goes_on_and_touches_nothing_that_is_not_a_run(
    clips: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stopping = StopAt(3)
    with pytest.raises(StoppedError):
        run_training(settings_for(clips, out, resume="auto"), stopping, stopping.request)
    shutil.rmtree(out / "state")  # killed before its first save
    with pytest.raises(Exception, match="holds no saved run; delete it and leave `resume` out"):
        run_training(settings_for(clips, out, resume=True))
    with pytest.raises(Exception, match="no saved run; it does not exist; correct `out`, or leave `resume` out"):
        run_training(settings_for(clips, tmp_path / "nowhere", resume=True))
    run_training(settings_for(clips, out, resume="auto"))
    run_training(settings_for(clips, out, resume="auto"))  # nothing is left to do
    assert_same_run(out, whole)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(Exception, match="exists; choose another folder"):
        run_training(settings_for(clips, tmp_path / "other", resume="auto"))
    assert (tmp_path / "other" / "thesis.tex").exists()


@pytest.mark.parametrize("words", [["--resume"], ["--resume", "auto"], ["--resume", "True"]])
def test_resume_takes_no_list_for_its_value(words: list[str]) -> None:
    from gateshift.cli.main import parse

    settings = parse(["train", *words, "train.csv", "val.csv", "--out", "run"])
    assert settings.resume == ("auto" if "auto" in words else True)
    assert (settings.train, settings.val) == (Path("train.csv"), Path("val.csv"))


def command(clips: Path, out: Path, *words: str, epochs: int = EPOCHS) -> list[str]:
    lists = [str(clips / "train.csv"), str(clips / "val.csv")]
    return ["train", *lists, "--out", str(out), *SMALL, "--epochs", str(epochs), "--save-minutes", "0", *words]


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_command_and_its_loaders_saves_and_ends_it(
    clips: Path, whole_command: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    words = [sys.executable, "-m", "gateshift", *command(clips, tmp_path / "run", "--workers", "1")]
    started = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(tmp_path / "run" / "state")
    os.killpg(started.pid, sent)  # as a terminal and as Slurm send it: to the loading processes, too
    _, told = started.communicate(timeout=60)
    assert started.returncode == code, told
    assert f"saved in {tmp_path / 'run' / 'state'}; resume with the same command and" in told
    assert "Traceback" not in told
    main(command(clips, tmp_path / "run", "--workers", "1", "--resume"))
    assert_same_run(tmp_path / "run", whole_command)


@pytest.mark.slow
def test_resume_auto_deletes_nothing_but_a_run_that_saved_nothing(clips: Path, whole: Path, tmp_path: Path) -> None:
    project, finished = tmp_path / "project", tmp_path / "finished"
    (project / "src").mkdir(parents=True)
    (project / "settings.json").write_text("{}")
    (project / "src" / "thesis.tex").touch()
    shutil.copytree(whole, finished)
    for state in finished.glob("state*"):  # to save room
        shutil.rmtree(state)
    for folder in (project, finished):
        files = sorted(folder.rglob("*"))
        with pytest.raises(Exception, match="exists; choose another folder"):
            run_training(settings_for(clips, folder, resume="auto"))
        assert sorted(folder.rglob("*")) == files


@pytest.mark.parametrize("resume", [False, "auto"])
def test_what_another_training_has_saved_meanwhile_is_not_deleted(resume: Any, tmp_path: Path) -> None:
    begun = {"train_videos": "", "epochs": 2}
    if resume == "auto":
        RunFolder(tmp_path / "run").create(begun, "")
    folders = [RunFolder(tmp_path / "run") for _ in range(2)]
    assert [folder.choose_start(resume) for folder in folders] == [False, False]
    folders[0].create(begun, "")
    folders[0].state.mkdir()
    with pytest.raises(Exception, match="exists; choose another folder"):
        folders[1].create(begun, "")
    assert folders[0].state.is_dir()


def test_a_list_that_has_changed_is_told_in_words(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    begun = {"task": "clip", "accumulation": "exact", "epochs": 2, "train": "train.csv", "train_videos": "0a1b"}
    folder.create(begun, "")
    folder.check_description(begun)
    with pytest.raises(SettingsError, match=r"^`resume`: train.csv has other videos, labels or boxes than when"):
        folder.check_description(begun | {"train_videos": "2c3d"})


def test_a_finished_run_of_one_epoch_is_no_unsaved_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create({"train_videos": "", "epochs": 1}, "")
    folder.log({"epoch": 1})
    with pytest.raises(Exception, match="exists; choose another folder"):
        RunFolder(tmp_path / "run").choose_start("auto")


@pytest.mark.slow
def test_a_run_goes_on_without_a_bad_video_to_validate_on(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    rows = (tmp_path / "clips" / "val.csv").read_text().splitlines()
    bad = rows[1].split(",")[0]
    whole = (tmp_path / "clips" / bad).read_bytes()
    (tmp_path / "clips" / bad).write_bytes(b"no video")
    words = command(tmp_path / "clips", tmp_path / "run", "--workers", "0", epochs=1)
    with pytest.raises(SystemExit):
        main(words)
    assert bad in capsys.readouterr().err
    (tmp_path / "bad.csv").write_text(f"path\n{bad}\n")
    words += ["--exclude", str(tmp_path / "bad.csv"), "--resume"]
    main(words)
    assert "other validation videos than before" in capsys.readouterr().err
    other_spelling = [word.replace("val.csv", "../clips/val.csv") for word in words]
    assert other_spelling != words
    main(other_spelling)
    assert "other validation videos" not in capsys.readouterr().err
    (tmp_path / "clips" / bad).write_bytes(whole)
    main(command(tmp_path / "clips", tmp_path / "whole", "--workers", "0", epochs=1))
    one, other = (load_file(tmp_path / name / "last.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def wait_for(path: Path, timeout_s: float = 120) -> None:
    end_s = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def run_logged(words: list[str], log: Path) -> None:
    """What a process does: a command line, with what it says in a file."""
    with log.open("w") as file:
        os.dup2(file.fileno(), 2)
        main(words)


def start(words: list[str], log: Path) -> Any:
    """A process of its own that runs a command line."""
    return start_process(run_logged, words, log)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing(clips: Path, tmp_path: Path) -> None:
    log, draw, kills, runs = tmp_path / "log", random.Random(0), 0, 0
    start(["--version"], log).join()
    began_s = time.monotonic()
    start(command(clips, tmp_path / "whole", "--workers", "0"), log).join()
    duration_s = time.monotonic() - began_s
    while kills < KILLS:
        runs += 1
        out = tmp_path / f"run{runs}"
        while True:
            process = start(command(clips, out, "--workers", "0", "--resume", "auto"), log)
            process.join(draw.uniform(0, 0.8 * duration_s))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            kills += 1
        assert process.exitcode == 0, log.read_text()
        assert_same_run(out, tmp_path / "whole")


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of so many KiB."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def whole_command(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line that was never stopped."""
    out = tmp_path_factory.mktemp("command") / "run"
    main(command(clips, out, "--workers", "0"))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kib", DISKS_KIB)
def test_a_full_disk_is_one_line_and_loses_nothing(clips: Path, whole_command: Path, tmp_path: Path, kib: int) -> None:
    log = tmp_path / "log"
    with small_disk(tmp_path / "disk", kib) as disk:
        words = command(clips, disk / "run", "--workers", "0", "--resume", "auto")
        process = start(words, log)
        process.join()
        assert process.exitcode == 2, log.read_text()
        assert re.search(
            r"cannot be written.*the disk has \d+\.\d MB left; make room on it|no space left on the disk",
            log.read_text(),
        )
        assert "Traceback" not in log.read_text()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = start(words, log)
        again.join()
        assert again.exitcode == 0, log.read_text()
        assert_same_run(disk / "run", whole_command)
