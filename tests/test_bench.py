"""What the bench says, and the files it leaves. No test here depends on how long anything takes."""

import csv
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import gateshift as gs
from gateshift.bench.data_rate import LoaderRate, find_bottleneck, measure_loader
from gateshift.bench.output import draw_ratios, write_table
from gateshift.bench.programs import OTHER_SIZES_PX, Timing, kind_of
from gateshift.cli.main import main
from gateshift.data.lists.manifest import read_manifest

TIMED = {
    "inference": [
        Timing("model", 0.4, 1.0, 0.0),
        Timing("deployed, OpenVINO", 0.1, 4.0, 1e-6),
        Timing("TSN deployed", 0.08, 5.0, None),
        Timing("s3d, 16 x 224 px", 0.05, 8.0, None),
    ],
    "training step": [Timing("model, channels-last", 1.0, 1.0, None), Timing("bf16", 0.5, 2.0, None)],
}


@dataclass(frozen=True)
class Bench:
    """What one run of the verb printed and left."""

    printed: str
    rows: list[dict[str, str]]
    plot: Path

    def programs(self, what: str) -> dict[str, dict[str, str]]:
        return {row["program"]: row for row in self.rows if row["what"] == what}


@pytest.fixture(scope="module")
def bench(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    model, table, plot = folder / "m.safetensors", folder / "t.csv", folder / "t.png"
    # One gate: each costs time in every file that is written.
    gs.save_model(gs.create_model("test_resnet", num_classes=10, num_sites=1), model)
    words = ["bench", str(model), "--rounds", "1", "--segments", "2", "--batch-size", "1", "--others"]
    words += ["--videos", str(clips / "train.csv"), "--workers", "1", "--csv", str(table), "--plot", str(plot)]
    # In a process of its own, as the threads that the runtimes leave behind are not to meet later tests' workers.
    command = [sys.executable, "-m", "gateshift", *words]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8").stdout
    return Bench(printed, list(csv.DictReader(table.read_text().splitlines())), plot)


@pytest.mark.slow
def test_the_bench_times_every_form_of_the_model_and_a_tsn(bench: Bench) -> None:
    inference = bench.programs("inference")
    exports = {"deployed, ONNX Runtime", "deployed, OpenVINO", "deployed, OpenVINO, int8"}
    assert {"model", "deployed", "TSN deployed", *exports} <= inference.keys()
    assert {"model, channels-last", "checkpointed", "bf16"} <= bench.programs("training step").keys()
    assert "release" not in inference
    assert [row["program"] for row in bench.rows if row["times faster"] == "1.000"][:1] == ["model"]
    assert all(float(row["ms"]) > 0 for row in bench.rows if row["what"] != "bottleneck")
    assert float(inference["deployed, OpenVINO"]["relative error"]) <= 1e-4
    assert 0 < float(inference["deployed, OpenVINO, int8"]["relative error"]) <= 0.3
    assert inference["TSN deployed"]["relative error"] == ""
    assert "GFLOP/s in bf16" in bench.printed


@pytest.mark.slow
def test_without_the_extra_the_bench_leaves_exported_files_out_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    main(["bench", "test_resnet", "--rounds", "1", "--segments", "2"])
    said = capsys.readouterr().out
    assert "ONNX Runtime and OpenVINO are left out: openvino is not installed; pip install 'gateshift[export]'" in said
    assert "TSN deployed" in said and "deployed, O" not in said


@pytest.mark.slow
def test_the_bench_compares_torchvisions_networks_and_says_what_they_ran_on(bench: Bench) -> None:
    others = {name: row for name, row in bench.programs("inference").items() if kind_of(name) == "other"}
    names = {f"{name}, 16 x {size_px} px" for name, size_px in OTHER_SIZES_PX.items()}
    assert others.keys() == names
    model = bench.programs("inference")["model"]
    for name, row in others.items():
        assert float(row["times faster"]) == pytest.approx(float(model["ms"]) / float(row["ms"]), rel=0.2, abs=1e-3)
        assert row["relative error"] == ""
        assert name in bench.printed


@pytest.mark.slow
def test_the_bench_says_what_the_bottleneck_is(bench: Bench) -> None:
    loader = bench.programs("data")["loader, 1 worker"]
    (where, verdict), *more = bench.programs("bottleneck").items()
    assert not more
    step = bench.programs("training step")["model, channels-last"]
    slower = "data" if float(loader["videos/s"]) < float(step["videos/s"]) else "model"
    assert where == slower
    assert float(verdict["times faster"]) >= 1
    (line,) = [line for line in bench.printed.splitlines() if line.startswith("data: ")]
    assert "videos/s with 1 worker; a training step takes " in line
    assert f"the {slower} is the bottleneck, " in line


@pytest.mark.slow
def test_the_bench_draws_a_picture(bench: Bench) -> None:
    with Image.open(bench.plot) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
    assert not list(bench.plot.parent.glob(".partial-*"))


def test_a_model_slower_than_the_data_is_the_bottleneck() -> None:
    found = find_bottleneck(LoaderRate(26.0, workers=2, packed=False), TIMED, batch_size=2)
    assert str(found) == (
        "data: 26 videos/s with 2 workers; a training step takes 2 videos/s: the model is the bottleneck, 13 times; "
        "inference takes up to 20 (deployed, OpenVINO)"
    )


def test_data_slower_than_the_model_is_the_bottleneck_and_what_helps_is_said() -> None:
    found = find_bottleneck(LoaderRate(0.8, workers=1, packed=False), TIMED, batch_size=2)
    assert str(found) == (
        "data: 0.8 videos/s with 1 worker; a training step takes 2 videos/s: the data is the bottleneck, 2.5 times "
        "(read packed frames: prepare the list with `pack=256`); inference takes up to 20 (deployed, OpenVINO)"
    )


def test_packed_data_is_not_to_be_packed_again() -> None:
    found = find_bottleneck(LoaderRate(0.8, workers=1, packed=True), TIMED, batch_size=2)
    assert "prepare" not in str(found)
    assert "load with more workers" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_short_list_is_loaded_over_and_over(clips: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr("gateshift.bench.data_rate.LOADING_S", 0.0)
    manifest = read_manifest(clips / "train.csv")
    rate = measure_loader(manifest, size_px=32, num_segments=2, batch_size=len(manifest) + 1, workers=workers)
    assert rate.videos_per_s > 0
    assert (rate.workers, rate.packed) == (workers, False)


@pytest.mark.slow
def test_a_list_of_packed_frames_is_known_as_such(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateshift.bench.data_rate.LOADING_S", 0.0)
    main(["prepare", "folder", str(clips), "--pack", "32", "--out", str(tmp_path / "p")])
    rate = measure_loader(read_manifest(tmp_path / "p/train.csv"), size_px=32, num_segments=2, batch_size=1, workers=0)
    assert rate.packed


def test_the_table_holds_the_bottleneck(tmp_path: Path) -> None:
    data = LoaderRate(0.8, workers=1, packed=False)
    write_table(tmp_path / "t.csv", TIMED, find_bottleneck(data, TIMED, batch_size=2), batch_size=2)
    rows = (tmp_path / "t.csv").read_text().splitlines()
    assert rows[0] == "what,program,ms,times faster,relative error,videos/s"
    assert 'inference,"deployed, OpenVINO",100.0,4.000,1.0e-06,20' in rows
    assert rows[-2:] == ['data,"loader, 1 worker",2500.0,,,0.8', "bottleneck,data,,2.500,,"]


@pytest.mark.slow
def test_a_plot_can_be_an_svg(tmp_path: Path) -> None:
    draw_ratios(tmp_path / "plot.svg", TIMED, title="a network")
    assert ElementTree.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--plot p.pdf", "p.pdf; its name must end with .png or .svg; rename it"),
        ("--plot none/p.png", "none/p.png: no folder none; create it"),
        ("--csv none/t.csv", "none/t.csv: no folder none; create it"),
        (f"--csv {__file__}", f"{__file__} exists; choose another name, or add "),
        ("--workers 1", "the list that it is about"),
        ("--videos none.csv", "none.csv"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_timed(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "test_resnet", *words.split()])
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_broken_video_of_the_list_ends_the_bench_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gs.save_model(gs.create_model("test_resnet", num_classes=2, size_px=32), tmp_path / "m.safetensors")
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 100)
    (tmp_path / "list.csv").write_text("path,label\nbroken.mp4,a\n")
    with pytest.raises(SystemExit, match="2"):
        main(["bench", str(tmp_path / "m.safetensors"), "--videos", str(tmp_path / "list.csv"), "--workers", "0"])
    assert "broken.mp4" in capsys.readouterr().err
