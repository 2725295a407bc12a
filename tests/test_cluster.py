"""Scoring by Ray as its users run it: a command that is killed half-way and given again, on real clips and bad ones."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import WriteVideo
from serving import BRIGHT, DARK, grey_frames, write_brightness_model

import gateshift as gs
from gateshift.cli.main import main, parse
from gateshift.data.clips.remote import WantedViews, read_in_subprocesses
from gateshift.data.clips.views import EvalProtocol
from gateshift.data.on_ray import shares
from gateshift.errors import ManifestError, SettingsError, VideoError
from gateshift.evaluation.protocol import choose_protocol
from gateshift.prediction.cluster import _about, _Scoring, list_videos, predict_on_ray
from gateshift.prediction.job_folder import JobFolder

NUM_GOOD = 190
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")


@pytest.fixture(scope="module")
def place(write_video: WriteVideo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a list of 200 clips: dark where their number is even; ten of them cannot be read."""
    folder = tmp_path_factory.mktemp("place")
    write_brightness_model(folder / "model.safetensors")
    (folder / "clips").mkdir()
    for number in range(NUM_GOOD):
        frames = grey_frames([(BRIGHT if number % 2 else DARK) + number // 10] * (8 + number % 3))
        write_video(folder / "clips" / f"{number:03d}.mp4", frames)
    whole = (folder / "clips" / "000.mp4").read_bytes()
    for number in range(3):
        (folder / "clips" / f"cut_{number}.mp4").write_bytes(whole[: len(whole) * (number + 1) // 5])
        (folder / "clips" / f"text_{number}.mp4").write_text("no video\n")
    for number in range(2):
        (folder / "clips" / f"empty_{number}.mp4").touch()
    names = [f"clips/{path.name}" for path in sorted((folder / "clips").iterdir())]
    names[100:100] = ["clips/missing_0.mp4", "clips/missing_1.mp4"]
    (folder / "list.csv").write_text("\n".join(["path", *names]) + "\n")
    return folder


def addresses(place: Path) -> list[str]:
    """Of two of the clips, and of one that is not there."""
    return [f"file://{place}/clips/{name}.mp4" for name in ("000", "001", "missing_0")]


def command(place: Path, out: Path) -> list[str]:
    words = [
        "predict",
        "model.safetensors",
        "list.csv",
        *addresses(place),
        "--engine",
        "ray",
        "--out",
        str(out),
        "--top",
        "2",
    ]
    return [sys.executable, "-m", "gateshift", *words]


@contextmanager
def started(words: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A command in a session of its own, of which nothing is left in the end."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    # What is killed leaves files; and Ray's sockets lie below this folder, whose name has to be short.
    with tempfile.TemporaryDirectory(prefix="gs-", dir="/tmp") as folder:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env={**environment, "TMPDIR": folder, "HOME": folder},  # where Ray keeps a token
            start_new_session=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            kill_session(process.pid)
            process.communicate()


def kill_session(number: int) -> None:
    while left := [each for each, _, session, _ in processes() if session == number]:
        for each in left:
            kill(each)


def kill(number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def processes() -> list[tuple[int, int, int, str]]:
    """Number, parent, session and command of each process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":  # which have ended, and wait for their parent to hear of it
                found.append((int(folder.name), int(fields[1]), int(fields[3]), (folder / "cmdline").read_text()))
        except (OSError, UnicodeDecodeError):  # it has ended meanwhile
            continue
    return found


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end_s = time.monotonic() + 480
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.02)


def parts_in(out: Path) -> dict[str, tuple[int, int, bytes]]:
    """What identifies the finished parts of a job: a file written again is another one."""
    paths = sorted((out / "parts").glob("[0-9]*.jsonl"))
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


@pytest.mark.slow
@needs_proc
def test_a_job_whose_driver_and_a_worker_are_killed_ends_with_one_row_for_each_video(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; pip install '.[cluster]'")
    out = tmp_path / "job"
    with started(command(place, out), place) as driver:
        wait_until(lambda: len(parts_in(out)) >= 5, driver)
        driver.kill()
    before = parts_in(out)
    assert 5 <= len(before) < 13 and not (out / "predictions.jsonl").exists()

    with started(command(place, out), place) as driver:
        wait_until(lambda: len(parts_in(out)) > len(before), driver)
        workers = [n for n, _, session, name in processes() if session == driver.pid and "MapWorker" in name]
        os.kill(workers[0], signal.SIGKILL)
        printed, errors = driver.communicate(timeout=480)
    assert driver.returncode == 2, errors
    assert printed == f"{out}/predictions.jsonl: 203 videos, of which 11 could not be read\n"
    after = parts_in(out)
    assert len(after) == 13 and {name: after[name] for name in before} == before

    records = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    listed, remote = (place / "list.csv").read_text().split()[1:], addresses(place)
    assert [record["video"] for record in records] == [*listed, *remote]
    assert len(set(listed)) == 200
    for record in records:
        name = Path(record["video"]).stem
        assert (record["error"] is None) == name.isdecimal()
        if name.isdecimal():
            assert record["top"][0]["class"] == ("bright" if int(name) % 2 else "dark & <b>grim</b>")

    assert records[-1]["error"].startswith(f"{remote[-1]}: cannot be fetched: FileNotFoundError")
    assert [record["top"] for record in records[-3:-1]] == [record["top"] for record in records[:2]]

    monkeypatch.chdir(place)
    with pytest.raises(SystemExit):
        main(["predict", "model.safetensors", *listed, "--json", "--top", "2"])
    plain = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for record, other in zip(records[: len(listed)], plain, strict=True):
        assert (record["video"], record["error"]) == (other["video"], other["error"])
        assert [each["class"] for each in record["top"]] == [each["class"] for each in other["top"]]
        probabilities = ([each["probability"] for each in one["top"]] for one in (record, other))
        np.testing.assert_allclose(*probabilities, atol=1e-6)


def wanted(video: str | Path, folder: Path) -> WantedViews:
    return WantedViews(str(video), folder, EvalProtocol(4), 32, 36, False, folder)


@pytest.mark.slow
def test_a_fetched_video_has_the_views_of_the_file_and_its_copy_is_removed(place: Path, tmp_path: Path) -> None:
    clip = place / "clips" / "001.mp4"
    tasks = [wanted(each, tmp_path) for each in (f"file://{clip}", clip, f"file://{place}/clips/text_0.mp4", tmp_path)]
    read = dict(read_in_subprocesses(tasks, workers=1, timeout_s=60))
    assert isinstance(read[0], np.ndarray) and read[0].shape == (1, 4, 3, 32, 32)
    np.testing.assert_array_equal(read[0], read[1])
    assert isinstance(read[2], VideoError) and str(read[2]).startswith(f"{tasks[2].video}: cannot be read as a video")
    assert isinstance(read[3], VideoError) and "\n" not in str(read[3])
    assert list(tmp_path.iterdir()) == []


@contextmanager
def silent_server(on_connection: Callable[[], None] = lambda: None) -> Iterator[str]:
    """The address of a video that never comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return
                on_connection()

        threading.Thread(target=serve, daemon=True).start()
        yield f"ftp://127.0.0.1:{listener.getsockname()[1]}/a.mp4"
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def kill_decoder() -> None:
    """End the process that decodes: the only child of the one that forks."""
    parents = {number: parent for number, parent, _, _ in processes()}
    for number, parent in parents.items():
        if parents.get(parent) == os.getpid():
            kill(number)


@pytest.mark.slow
@needs_proc
def test_a_video_that_kills_its_decoder_twice_is_an_error_and_the_others_are_read(place: Path, tmp_path: Path) -> None:
    deaths: list[float] = []
    good = place / "clips" / "000.mp4"
    with silent_server(lambda: (deaths.append(time.monotonic()), kill_decoder())[0]) as address:
        tasks = [wanted(each, tmp_path) for each in (good, address, good)]
        read = dict(read_in_subprocesses(tasks, workers=1, timeout_s=60))
    assert [isinstance(read[number], np.ndarray) for number in range(3)] == [True, False, True]
    assert str(read[1]) == f"{address}: ended the process that decoded it, twice; write it again"
    assert len(deaths) == 2


@pytest.mark.slow
def test_a_video_that_does_not_come_is_given_up_after_its_time(place: Path, tmp_path: Path) -> None:
    with silent_server() as address:
        tasks = [wanted(each, tmp_path) for each in (address, place / "clips" / "000.mp4")]
        read = dict(read_in_subprocesses(tasks, workers=1, timeout_s=1.0))
    assert "was not decoded in 1 s" in str(read[0])
    assert isinstance(read[1], np.ndarray)


@pytest.mark.slow
def test_lists_folders_and_addresses_name_each_video_once(place: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(place / "clips" / "000.mp4", clips / name)
    (tmp_path / "list.txt").write_text("clips/b.mp4\n\nmemory://c d.mp4\r\n/absolute/e.mp4\n")
    (tmp_path / "list.csv").write_text("label,path\nx,clips/a.mp4\ny,clips/f.mp4\n")
    sources = [str(tmp_path / name) for name in ("list.txt", "clips", "list.csv")]
    named = [clips / "b.mp4", "memory://c d.mp4", Path("/absolute/e.mp4"), clips / "a.mp4", clips / "f.mp4"]
    assert list_videos([*sources, "memory://c d.mp4"]) == [str(each) for each in named]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("list.csv", "file\na.mp4\n", "columns file; its first line must be path, and may name more; correct it"),
        ("list.csv", "path,start,end\na.mp4,1,2\n", "line 2: a part of a video; whole videos are scored"),
        ("list.csv", "path,label\n,x\n", "line 2: no path; correct or delete the line"),
        ("list.txt", "\n", "no video in it"),
        ("list.txt", None, "no such list; give a text file"),
        ("list.txt", "rtsp://door/1\n", "rtsp://door/1: videos are fetched by fsspec, which says"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_clear_line(
    name: str, content: str | None, fault: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises((ManifestError, SettingsError, VideoError)) as raised:
        list_videos([str(tmp_path / name)])
    assert fault in str(raised.value) and "\n" not in str(raised.value)


ABOUT = {"model": "a.safetensors, 12", "protocol": "8 segments × 1 clips × 1 crops"}


def test_parts_that_are_there_are_not_missing_and_make_one_file_in_order(tmp_path: Path) -> None:
    videos = [f"{number}.mp4" for number in range(35)]
    job = JobFolder(tmp_path / "job", videos, ABOUT)
    assert job.missing() == [0, 1, 2]
    assert [list(job.videos_of(part)) for part in (0, 1, 2)] == [videos[:16], videos[16:32], videos[32:]]
    job.write(2, "c\n")
    job.write(0, "a\n")
    (tmp_path / "job" / "parts" / ".partial-000001.jsonl").write_text("half of")
    again = JobFolder(tmp_path / "job", videos, ABOUT)
    assert again.missing() == [1]
    again.write(1, "b\n")
    again.finish()
    assert again.finished.read_text() == "a\nb\nc\n"
    shutil.rmtree(tmp_path / "job" / "parts")
    assert JobFolder(tmp_path / "job", videos, ABOUT).missing() == []


@pytest.mark.parametrize("key", ABOUT)
def test_the_folder_of_another_job_is_refused(key: str, tmp_path: Path) -> None:
    JobFolder(tmp_path, ["a.mp4"], ABOUT)
    with pytest.raises(SettingsError, match=f"was begun with another {key}, {ABOUT[key]} and not other; give the same"):
        JobFolder(tmp_path, ["a.mp4"], {**ABOUT, key: "other"})


def test_a_folder_or_file_that_is_no_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    for out in (tmp_path, tmp_path / "a.mp4"):
        with pytest.raises(SettingsError, match="exists, and no job was begun in it; choose another folder"):
            JobFolder(out, ["a.mp4"], ABOUT)


@pytest.fixture
def finished(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command whose job has been done, and is not done again; the model lies in this process's folder."""
    pytest.importorskip("ray", reason="Ray is not installed; pip install '.[cluster]'")
    monkeypatch.chdir(shutil.copytree(place, tmp_path / "place"))
    words = ["predict", "model.safetensors", "clips/000.mp4", "--engine", "ray", "--out", "job"]
    settings = parse(words)
    config = gs.load_model(settings.model).config
    scoring = _Scoring(settings.model, config.classes, choose_protocol(config), settings.top, settings.cluster.timeout)
    job = JobFolder(Path("job"), settings.videos, _about(scoring, settings.videos, Path.cwd()))
    job.write(0, '{"video": "clips/000.mp4", "top": [], "error": null}\n')
    job.finish()
    return words


@pytest.mark.slow
def test_a_finished_job_is_only_told_of(
    finished: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # a cluster that is gone
    written_ns = Path("job/predictions.jsonl").stat().st_mtime_ns
    main([*finished, "--timeout", "5"])  # which is no other job
    assert capsys.readouterr().out == "job/predictions.jsonl: 1 videos, of which 0 could not be read\n"
    counted: list[tuple[int, int]] = []
    job = predict_on_ray(finished[1], finished[2], out="job", progress=lambda *numbers: counted.append(numbers))
    assert (job.path, job.num_videos, job.num_failed) == (Path("job/predictions.jsonl"), 1, 0)
    assert counted == [(1, 1)]
    assert Path("job/predictions.jsonl").stat().st_mtime_ns == written_ns


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (["--top", "1"], "top"),
        (["--clips", "2"], "protocol"),
        (["--segments", "4"], "protocol"),
        (["clips/001.mp4"], "list"),
        ([], "model"),
    ],
)
def test_the_folder_of_another_command_is_refused(
    change: list[str], what: str, finished: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "model":  # of the same name
        names = ["dark & <b>grim</b>", "bright"]
        gs.save_model(
            gs.create_model("test_resnet", classes=names, num_segments=8, size_px=32), Path("model.safetensors")
        )
    with pytest.raises(SystemExit) as stop:
        main([*finished[:3], *change, *finished[3:]])
    assert stop.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line)
    assert f"--out job: was begun with another {what}, " in line


def test_without_ray_one_line_says_how_to_install_it(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(place / "model.safetensors"), "a.mp4", "--engine", "ray", "--out", str(tmp_path / "job")])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'gateshift[cluster]'" in line
    assert not (tmp_path / "job").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ("127.0.0.1:{}", "; start a cluster there"),
        ("ray://127.0.0.1:{}", "; start a cluster there"),
        ("localhost:{}00000", "; start a cluster there"),
        ("somehost", "; it is HOST:PORT"),
        ("127.0.0.1:no port", "; it is HOST:PORT"),
        ("ray://127.0.0.1", "; it is HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_one_line_at_once(
    form: str,
    fault: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; pip install '.[cluster]'")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", form.format(port))  # where nobody listens any more
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(place / "model.safetensors"), "a.mp4", "--engine", "ray", "--out", str(tmp_path / "job")])
    assert stop.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line)
    assert f"RAY_ADDRESS {form.format(port)}" in line
    assert fault in line
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("--engine ray", "without --out"),
        ("--out job", "without --engine ray"),
        ("--engine ray --out job --stream", "--stream was given with --engine ray"),
        ("--engine ray --out job --timeline a.csv", "--timeline was given with --engine ray"),
        ("--engine ray --out job --json", "--json was given with --engine ray"),
        ("--engine ray --out job --timeout 0", "--timeout 0; it must be above 0 seconds"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    words: str, fault: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(place / "model.safetensors"), "a.mp4", *words.split()])
    assert stop.value.code == 2
    assert fault in capsys.readouterr().err


def test_workers_share_the_cores_or_where_there_are_any_the_gpus() -> None:
    assert shares([{"CPU": 2.0}, {"CPU": 4.0, "memory": 1e9}]) == (6, 1, 0)
    assert shares([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 9.0, "GPU": 3.0}, {"CPU": 64.0}]) == (7, 3, 1)
    assert shares([{"CPU": 1.0, "GPU": 2.0}]) == (2, 1, 1)
