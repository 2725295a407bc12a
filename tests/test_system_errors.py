"""What the system refuses is told by what it is."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateshift.cli.main import main
from gateshift.data.video.files import open_video
from gateshift.errors import SettingsError, VideoError, explain_system_error
from gateshift.training.run_folder import RunFolder


def said_by(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 2
    return capsys.readouterr().err.strip()


def test_a_name_that_is_too_long_is_no_question_of_permissions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = tmp_path / ("a" * 300 + ".csv")
    said = said_by(capsys, "train", name, name, "--out", tmp_path / "run")
    assert said == f"gateshift: {name}: the name is too long; shorten it"
    with pytest.raises(VideoError, match=r"aaa\.mp4: the name is too long; shorten it"):
        open_video(tmp_path / ("a" * 300 + ".mp4"))


def test_a_path_through_a_file_and_a_circle_of_links_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(VideoError, match="circle: its links lead in a circle; correct them"):
        open_video(tmp_path / "circle")
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "run"
    said = said_by(capsys, "prepare", "folder", tmp_path, "--out", out)
    assert "space" not in said and "permission" not in said


@pytest.mark.slow
def test_a_list_that_may_not_be_read_is_a_question_of_permissions_alone(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n")
    (tmp_path / "list.csv").chmod(0)
    words = [sys.executable, "-m", "gateshift", "train", "list.csv", "list.csv", "--out", "run"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything, and there is no setpriv")
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.strip() == "gateshift: list.csv: permission denied; ask for it, or give another path"


def test_a_full_disk_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with pytest.raises(OSError) as error, Path("/dev/full").open("w") as file:
        file.write("text")
        file.flush()
    assert explain_system_error(error.value) == "no space left on the disk; make room on it"


def test_too_many_open_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 8, hard))
    try:
        with pytest.raises(OSError) as error:
            for _ in range(1000):
                opened.append((tmp_path / "file").open())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in opened:
            file.close()
    said = explain_system_error(error.value)
    assert said == f"{tmp_path / 'file'}: too many open files; raise the limit (ulimit -n), or take fewer `workers`"


def test_an_error_of_another_kind_is_told_in_its_own_words() -> None:
    assert explain_system_error(OSError("connection lost\nby peer")) == "connection lost by peer"


def test_a_folder_that_cannot_be_written_is_no_full_disk(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.last.mkdir()  # a folder where the model is to be

    import gateshift as gs

    with pytest.raises(SettingsError) as error:
        folder.save_models(gs.create_model("test_resnet", "none", num_classes=2), best=False)
    assert "is a folder" in str(error.value) and "make room" not in str(error.value)
