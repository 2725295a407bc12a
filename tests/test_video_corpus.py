"""Every kind of good and bad video gives its right frames or one clear error: no crash, no hang, no memory kept."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from memory import in_fresh_process, resident_mb
from video_corpus import BAD, CONTAINERS, CUT, DAMAGED, GOOD, Kind, encode, numbers_in, put, scene

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.video.files import find_videos, open_video
from gateshift.errors import VideoError

NUM_FLIPS = 2000


def read_all(path: Path) -> np.ndarray:
    with open_video(path) as video:
        return video.read(range(video.num_frames)).permute(0, 2, 3, 1).numpy()


def written(kind: Kind, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    kind.write(folder / kind.file)
    return folder / kind.file


@pytest.mark.parametrize("kind", GOOD.values(), ids=GOOD)
def test_a_good_video_gives_its_frames(kind: Kind, tmp_path: Path) -> None:
    assert kind.frames is not None
    found = read_all(written(kind, tmp_path))
    assert numbers_in(found, kind.frames) == list(range(len(kind.frames)))


@pytest.mark.parametrize("kind", BAD.values(), ids=BAD)
def test_a_bad_video_is_one_line_that_names_it(kind: Kind, tmp_path: Path) -> None:
    path = written(kind, tmp_path)
    with pytest.raises(VideoError, match=kind.error) as raised:
        read_all(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_cut_or_damaged_video_gives_frames_that_it_has_or_one_line(name: str, tmp_path: Path) -> None:
    outcomes = []
    for kind in (kind for title, kind in {**CUT, **DAMAGED}.items() if re.fullmatch(f"{name}, [^,]*", title)):
        path = tmp_path / kind.file
        try:
            found = numbers_in(read_all(written(kind, tmp_path)), kind.frames)
            assert found == sorted(set(found)) and found[0] >= 0
            outcomes.append(True)
        except VideoError as error:
            assert str(path) in str(error) and "; " in str(error) and "\n" not in str(error)
            outcomes.append(False)
    assert len(outcomes) >= 13 and False in outcomes


def test_a_file_that_may_not_be_read_is_an_error() -> None:
    with tempfile.TemporaryDirectory() as place:  # below pytest's own folders nobody else may look
        folder = Path(place)
        folder.chmod(0o755)
        for file in ("a.mp4", "closed/b.mp4"):
            (folder / file).parent.mkdir(exist_ok=True)
            encode(folder / file)
        (folder / "a.mp4").chmod(0)
        (folder / "closed").chmod(0)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(VideoError, match=r"a[.]mp4: cannot be read as a video .Permission denied"):
                open_video(folder / "a.mp4")
            with pytest.raises(VideoError, match=r"b[.]mp4: permission denied; ask for the right"):
                open_video(folder / "closed" / "b.mp4")
        finally:
            os.seteuid(user)
            (folder / "closed").chmod(0o755)


def test_links_that_lead_nowhere_are_videos_that_are_missing(tmp_path: Path) -> None:
    encode(tmp_path / "good.mp4")
    for name, target in {"itself.mp4": "itself.mp4", "gone.mp4": "nothing", "linked.mp4": "good.mp4"}.items():
        (tmp_path / name).symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_a_pipe.mp4").symlink_to("pipe")
    (tmp_path / "circle").symlink_to(".")
    found = [path.name for path in find_videos(tmp_path)]
    assert found == ["gone.mp4", "good.mp4", "itself.mp4", "linked.mp4"]


def test_a_stream_that_appears_on_the_way_does_no_harm(tmp_path: Path) -> None:
    encode(tmp_path / "a.ts", scene(8, 32, 32), codec="mpeg2video")
    data = (tmp_path / "a.ts").read_bytes()
    for place, value in ((456, 40), (646, 154), (691, 246), (1851, 152), (1882, 28)):  # the last makes another stream
        data = put(place, bytes([value]), data)
    (tmp_path / "a.ts").write_bytes(data)
    with pytest.raises(VideoError, match=r"a[.]ts: frame .* cannot be decoded"):
        read_all(tmp_path / "a.ts")


def read_all_again(paths: list[Path], rounds: int) -> list[tuple[float, int]]:
    """Memory in MB and open files after each round of reading all of them."""
    found = []
    for _ in range(rounds):
        for path in paths:
            try:
                read_all(path)
            except VideoError:
                continue
        found.append((resident_mb(), len([*Path("/proc/self/fd").iterdir()])))
    return found


@pytest.mark.slow
def test_bad_videos_leave_nothing_in_memory(tmp_path: Path) -> None:
    kinds = [*BAD.values(), *list(GOOD.values())[::6], *list(CUT.values())[::12]]
    paths = [written(kind, tmp_path / str(place)) for place, kind in enumerate(kinds)]
    rounds = in_fresh_process(read_all_again, paths, 25)
    (before_mb, before_files), (after_mb, after_files) = rounds[4], rounds[-1]
    assert after_mb - before_mb < 2
    assert after_files == before_files


@pytest.mark.slow
def test_predict_gives_one_record_for_each_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {**GOOD, **BAD}
    paths = [written(kind, tmp_path / str(place)) for place, kind in enumerate(kinds.values())]
    gs.save_model(gs.create_model("test_resnet", num_classes=3, size_px=32, num_segments=4), tmp_path / "m.safetensors")
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(tmp_path / "m.safetensors"), *map(str, paths), "--json"])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert stopped.value.code == 2
    assert [record["video"] for record in records] == list(map(str, paths))
    assert [record["error"] is None for record in records] == [kind.frames is not None for kind in kinds.values()]


@pytest.mark.slow
def test_two_thousand_videos_with_changed_bytes_crash_and_hang_nothing(tmp_path: Path) -> None:
    program = Path(__file__).with_name("flipped_bytes.py")
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), "0", str(NUM_FLIPS)], capture_output=True, text=True, timeout=900
    )
    *begun, last = done.stdout.splitlines()
    assert done.returncode == 0, f"{last}: {done.stderr[-2000:]}"
    outcome = json.loads(last)
    assert len(begun) == NUM_FLIPS == outcome["read"] + outcome["refused"]
    assert min(outcome["read"], outcome["refused"]) > NUM_FLIPS / 5  # both ways are gone
    assert outcome["grown_mb"] < 400
