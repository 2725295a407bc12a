"""Clips a second of an exported page in headless Chromium, with a camera that shows a drawn clip; see README.md."""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gateshift as gs
from gateshift.demo.reversal_clips import write_reversal_clips

# The sizes that they are trained at.
NETWORKS: dict[str, dict[str, Any]] = {
    "mobilenetv2_100": {"size_px": 224},
    "motion start": {"backbone": "tf_efficientnet_lite0", "weights": "motion", "size_px": 112},
}
FIELDS = ["network", "size_px", "engine", "model_mb", "fetched_mb", "folder_mb"]
FIELDS += ["network_ms", "network_cpu_ms", "clips_per_second", "frames_per_second"]
SEGMENTS, WINDOW_S = 8, 0.5  # a new frame, and with it a clip, comes after WINDOW_S / SEGMENTS: no faster rate is seen
WARM_UP_S, WATCHED_S = 5, 20
COUNT = """
  globalThis.times = [];
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (message, transfer) {
    if (message.shape) this.addEventListener("message", ({data}) => data.ms && times.push(data.ms));
    return post.call(this, message, transfer);
  };
"""


def megabytes(*paths: Path) -> float:
    return sum(file.stat().st_size for path in paths for file in (path.rglob("*") if path.is_dir() else [path])) / 1e6


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a static host."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    (port,) = re.findall(r"port (\d+)", process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.communicate()


def worker_cpu_s() -> float:
    """Processor time of all workers of browsers so far, on Linux: what other programs do is not in it."""
    ticks = 0
    for task in Path("/proc").glob("[0-9]*/task/*"):
        with suppress(OSError):  # it has ended
            if (task / "comm").read_text() == "DedicatedWorker\n":
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def watch(browser: Any, address: str) -> tuple[str, float, float, float]:
    """What a page computes with; milliseconds of the network for a clip, and its processor time; clips a second."""
    page = browser.new_page()
    page.add_init_script(COUNT)
    page.goto(address)
    page.wait_for_selector("#controls:not([disabled])", timeout=120_000)
    page.fill("#window", str(WINDOW_S))
    page.click("#camera")
    page.wait_for_timeout(1000 * WARM_UP_S)
    page.evaluate("times.length = 0")
    began, cpu_s = time.perf_counter(), worker_cpu_s()
    page.wait_for_timeout(1000 * WATCHED_S)
    times, cpu_s, seconds = sorted(page.evaluate("times")), worker_cpu_s() - cpu_s, time.perf_counter() - began
    engine = page.inner_text("#engine")
    page.close()
    return engine, times[len(times) // 2], 1000 * cpu_s / len(times), len(times) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.csv")
    parser.add_argument("--runtime", type=Path, help="what npm pack onnxruntime-web@VERSION writes")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as temp, sync_playwright() as playwright, given.out.open("w") as file:
        folder = Path(temp)
        write_reversal_clips(folder / "clips", train_per_class=1, val_per_class=1, size_px=(640, 480))
        classes = (folder / "clips" / "classes.txt").read_text().splitlines()
        clip, film = next((folder / "clips" / "val").rglob("*.mp4")), folder / "film.mjpeg"
        subprocess.run(
            ["ffmpeg", "-loglevel", "error", "-i", clip, "-q:v", "3", "-pix_fmt", "yuvj420p", film], check=True
        )
        switches = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--no-sandbox"]
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=[*switches, f"--use-file-for-fake-video-capture={film}"],
        )
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for name in given.networks:
            options = {"backbone": name, **NETWORKS[name], "num_segments": SEGMENTS}
            model, out = gs.create_model(**options, classes=classes).eval(), folder / name
            gs.export(model, folder / "clips" / "val.csv", format="web", out=out, runtime=given.runtime)
            with serving(out) as address:
                engine, network_ms, cpu_ms, clips = watch(browser, address)
            pages = [each for each in out.iterdir() if each.is_file()]
            runtime = [each for each in (out / "runtime").iterdir() if not re.search("asyncify|webgpu", each.name)]
            figures = (name, options["size_px"], engine, megabytes(out / "model.onnx"), megabytes(*pages, *runtime))
            figures += (megabytes(out), network_ms, cpu_ms, clips, SEGMENTS * clips)
            rounded = [f"{each:.1f}" if isinstance(each, float) else each for each in figures]
            writer.writerow(dict(zip(FIELDS, rounded, strict=True)))
            file.flush()
        browser.close()


if __name__ == "__main__":
    main()
