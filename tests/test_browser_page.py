"""The folder that `export --format web` writes, in a real browser: a camera, clips, no network; and what is refused."""

import base64
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WriteVideo, open_browser
from serving import BRIGHT, DARK, SIZE_PX, grey_frames, write_brightness_model
from video_corpus import encode

import gateshift as gs
from gateshift.cli.main import main
from gateshift.data.clips.transforms import _resizes_bytes
from gateshift.data.clips.views import crop_frame
from gateshift.data.regions import cut_region
from gateshift.errors import ModelError, SettingsError
from gateshift.exported.loading import load_any
from gateshift.exporting import browser_runtime
from gateshift.exporting.export import export
from gateshift.exporting.settings import ExportSettings
from gateshift.prediction.windows import Windows

pytestmark = pytest.mark.slow

WAIT_MS = 30_000
FRAMES = 8
OWN_FILES = {"index.html", "page.js", "clips.js", "worker.js", "offline.js", "model.onnx"}
# What the page lets its worker see, and what that answers.
LISTEN = """
  globalThis.clips = []; globalThis.answers = [];
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (message, transfer) {
    if (message.shape) this.addEventListener("message", ({data}) => data.logits && answers.push([...data.logits]));
    else clips.push([...message.clip]);
    return post.call(this, message, transfer);
  };
"""
CROP = """async ([text, width, height, size, resize]) => {
  const {cropFrame} = await import("./clips.js");
  const data = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return [...cropFrame({data, width, height}, size, resize)];
}"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """onnxruntime-web as npm brings it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which brings onnxruntime-web")
    folder = tmp_path_factory.mktemp("npm")
    name = f"{browser_runtime.PACKAGE}@{browser_runtime.VERSION}"
    done = subprocess.run([npm, "pack", "--silent", name], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm cannot fetch {name}: {done.stderr.strip()[-200:]}")
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "best.safetensors"
    write_brightness_model(path, num_sites=1)  # what is written costs time for each
    return path


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> Path:
    folder = tmp_path_factory.mktemp("listed")
    rows = ["path,label"]
    for name, level in (("dark & <b>grim</b>", DARK), ("bright", BRIGHT)):
        write_video(folder / f"{level}.mp4", grey_frames([level] * 10))
        rows.append(f"{level}.mp4,{name}")
    (folder / "val.csv").write_text("\n".join(rows) + "\n")
    return folder / "val.csv"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Torch's cache, where the runtime is kept, in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder := tmp_path_factory.mktemp("torch")))
        yield folder


@pytest.fixture(scope="module")
def page_folder(saved: Path, listed: Path, archive: Path, cache: Path) -> Path:
    assert cache.is_dir()
    main(["export", str(saved), str(listed), "--format", "web", "--runtime", str(archive), "--workers", "0"])
    return saved.parent / "best-web"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo) -> Iterator[Any]:
    """With a camera that shows something bright."""
    film = tmp_path_factory.mktemp("film") / "bright.mjpeg"
    write_video(film, grey_frames([BRIGHT] * 20, height=240, width=320), codec="mjpeg", pix_fmt="yuvj420p")
    switches = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with open_browser(*switches, f"--use-file-for-fake-video-capture={film}") as opened:
        yield opened


class Host:
    """``python -m http.server`` in a folder: any static host."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        (port,) = re.findall(r"port (\d+)", self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{port}/"

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def host(page_folder: Path) -> Iterator[Host]:
    host = Host(page_folder)
    yield host
    host.stop()


class Visit:
    """A page that is ready, what its console said, and whom anything of it asked."""

    def __init__(self, browser: Any, url: str, *, width_px: int = 1280) -> None:
        self.context = browser.new_context(viewport={"width": width_px, "height": 900})
        self.context.add_init_script(LISTEN)
        self.asked: list[str] = []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.page.wait_for_selector("#controls:not([disabled])", timeout=WAIT_MS)

    def choose(self, path: Path) -> None:
        """Choose a clip and wait until all of it is answered."""
        self.page.set_input_files("#file", path)
        self.page.wait_for_selector("video[controls]", timeout=WAIT_MS)

    def likeliest(self) -> str:
        return self.page.inner_text("#classes li:first-child .name")

    def seen(self) -> torch.Tensor:
        """Clips that the network got, uint8 [n, T, 3, s, s]."""
        return torch.tensor(self.page.evaluate("clips"), dtype=torch.uint8).view(-1, FRAMES, 3, SIZE_PX, SIZE_PX)

    def answers(self) -> torch.Tensor:
        """Its logits of them, [n, K]."""
        return torch.tensor(self.page.evaluate("answers"))


@pytest.fixture
def visit(browser: Any, host: Host) -> Iterator[Visit]:
    visit = Visit(browser, host.url)
    yield visit
    assert visit.errors == []
    assert [url for url in visit.asked if not url.startswith((host.url, "blob:", "data:"))] == []
    visit.context.close()


def test_the_folder_holds_the_page_the_network_and_the_runtime(page_folder: Path, saved: Path) -> None:
    files = {file.relative_to(page_folder).as_posix() for file in page_folder.rglob("*") if file.is_file()}
    assert files == OWN_FILES | {f"runtime/{name}" for name in browser_runtime.FILES}
    assert load_any(page_folder / "model.onnx").config == gs.load_model(saved).config
    written = (page_folder / "model.onnx").read_bytes()
    assert str(Path(gs.__file__).parent).encode() not in written and b"site-packages" not in written
    page = (page_folder / "index.html").read_text("utf-8")
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
    assert "<b>grim" not in page


def test_frames_are_cropped_as_in_python(visit: Visit) -> None:
    rng = np.random.default_rng(0)
    for width, height in ((640, 480), (99, 333), (1280, 720), (36, 48), (36, 36), (20, 27)):
        rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
        frame = torch.from_numpy(rgb).permute(2, 0, 1).unsqueeze(0)
        rgba = np.dstack([rgb, np.full((height, width), 255, np.uint8)])
        for resize in (36, None):
            found = visit.page.evaluate(CROP, [base64.b64encode(rgba).decode(), width, height, SIZE_PX, resize])
            expected = crop_frame(frame, size_px=SIZE_PX, resize_px=resize)
            apart = (torch.tensor(found).view(3, SIZE_PX, SIZE_PX) - expected.int()).abs()
            # Where torch has no code for bytes it computes in float32, and rounds once instead of twice.
            assert int(apart.max()) <= (0 if _resizes_bytes("cpu") else 1), (width, height, resize)


def test_boxes_are_cut_as_in_python(visit: Visit) -> None:
    rng = np.random.default_rng(0)
    shares = (rng.random((200, 4)) * 0.49 + [0, 0, 0.5, 0.5]).tolist()
    boxes = [*shares, [16, 12, 48, 36], [0, 0, 1, 1]]
    script = (
        "async boxes => { const {boxOf} = await import('./clips.js'); return boxes.map(box => boxOf(box, 641, 479)) }"
    )
    for box, found in zip(boxes, visit.page.evaluate(script, boxes), strict=True):
        rows, columns = cut_region(tuple(box), 641, 479)
        assert (found["left"], found["top"]) == (columns.start, rows.start)
        assert (found["width"], found["height"]) == (columns.stop - columns.start, rows.stop - rows.start)


def test_a_model_with_a_box_sees_that_part_of_a_clip(
    browser: Any, page_folder: Path, tmp_path: Path, write_video: WriteVideo
) -> None:
    halves = grey_frames([DARK] * 10)
    halves[:, :, 24:] = BRIGHT
    clip = write_video(tmp_path / "halves.mp4", halves)
    for number, (box, answer) in enumerate((("0, 0, 0.5, 1", "dark & <b>grim</b>"), ("24, 0, 48, 36", "bright"))):
        folder = tmp_path / str(number)
        shutil.copytree(page_folder, folder)
        page = (folder / "index.html").read_text("utf-8")
        assert '"box": null' in page
        (folder / "index.html").write_text(page.replace('"box": null', f'"box": [{box}]'), "utf-8")
        host = Host(folder)
        visit = Visit(browser, host.url)
        visit.choose(clip)
        assert visit.likeliest() == answer
        visit.page.set_input_files("#file", write_video(tmp_path / "small.mp4", grey_frames([DARK] * 3, width=32)))
        visit.page.wait_for_selector("#of:text('whole clip'), #message:not([hidden])", timeout=WAIT_MS)
        told = visit.page.inner_text("#message") if visit.page.is_visible("#message") else ""
        assert ("reaches beyond a picture of 32 x 36 pixels" in told) == (number == 1)
        visit.context.close()
        host.stop()


def test_a_clip_is_answered_as_in_python(
    visit: Visit,
    saved: Path,
    put_video: Callable[[Path, int], Path],
    numbers_of: Callable[..., list[int]],
    tmp_path: Path,
) -> None:
    video = put_video(tmp_path / "clip.mp4", 57)  # 5.7 s
    visit.choose(video)
    windows = Windows(20, 5, FRAMES)
    wanted = [range(57), *windows.covering(57)]
    clips = visit.seen()
    assert [numbers_of(clip) for clip in clips] == [windows.frames_of(window) for window in wanted]
    model = gs.load_model(saved)
    with torch.no_grad():
        torch.testing.assert_close(visit.answers().softmax(1), model(clips).softmax(1), rtol=0, atol=1e-5)
    predicted = model.predict(video, clips=1, crops=1)
    assert visit.likeliest() == predicted.label
    share = float(visit.page.inner_text("#classes li:first-child .share").rstrip(" %")) / 100
    assert share == pytest.approx(float(predicted.probabilities.max()), abs=0.02)  # its decoder is another one
    spans = gs.find_events(model, video)
    rows = visit.page.evaluate("[...document.querySelectorAll('#spans tr')].map(row => row.innerText.split('\\t'))")
    assert [label for _, label in rows] == [span.label for span in spans]
    shown = [float(time) for times, _ in rows for time in times.split("–")]
    # The page knows no frame rate, and a border between two windows is where it falls: here within a frame.
    assert shown == pytest.approx([time for span in spans for time in (span.start_s, span.end_s)], abs=0.1)
    assert len(rows) == 2


@pytest.mark.parametrize("first_ms", [0, 1000])
def test_sound_that_is_longer_than_the_pictures_changes_no_answer(
    visit: Visit,
    saved: Path,
    counting_frames: Callable[..., np.ndarray],
    numbers_of: Callable[..., list[int]],
    tmp_path: Path,
    first_ms: int,
) -> None:
    video, times_ms = tmp_path / "sound.mp4", [first_ms + 100 * number for number in range(24)]
    encode(video, counting_frames(24), fps=10, times_ms=times_ms, sound_s=6.0)
    visit.choose(video)
    windows = Windows(20, 5, FRAMES)
    wanted = [range(24), *windows.covering(24)]
    assert [numbers_of(clip) for clip in visit.seen()] == [windows.frames_of(window) for window in wanted]
    assert visit.page.inner_text("#of") == "The whole clip, 2.4 s"
    rows = visit.page.evaluate("[...document.querySelectorAll('#spans tr')].map(row => row.innerText.split('\\t'))")
    shown = [float(time) for times, _ in rows for time in times.split("–")]
    spans = gs.find_events(gs.load_model(saved), video)
    assert shown == pytest.approx([time for span in spans for time in (span.start_s, span.end_s)], abs=0.1)


def test_a_recording_that_does_not_say_how_long_it_is_is_seen_to_the_end_of_its_last_picture(
    visit: Visit, counting_frames: Callable[..., np.ndarray], numbers_of: Callable[..., list[int]], tmp_path: Path
) -> None:
    video = tmp_path / "recorded.webm"  # as browsers record them
    encode(video, counting_frames(20), codec="libvpx", fps=10, container_options={"live": "1"})
    visit.choose(video)
    assert numbers_of(visit.seen()[0]) == Windows(20, 5, FRAMES).frames_of(range(20))
    assert visit.page.inner_text("#of") == "The whole clip, 2.0 s"


@pytest.mark.parametrize("width_px", [1280, 390])
def test_a_camera_is_answered_again_and_again(browser: Any, host: Host, saved: Path, width_px: int) -> None:
    visit = Visit(browser, host.url, width_px=width_px)
    visit.page.fill("#window", "1")
    visit.page.click("#camera")
    visit.page.wait_for_selector("text=/clips a second/", timeout=WAIT_MS)
    assert visit.likeliest() == "bright"
    assert re.fullmatch(r"\d+ ms a clip, [\d.]+ clips a second", visit.page.inner_text("#rate"))
    answers, clips = visit.answers(), visit.seen()
    with torch.no_grad():
        expected = gs.load_model(saved)(clips[: len(answers)]).softmax(1)
    torch.testing.assert_close(answers.softmax(1), expected, rtol=0, atol=1e-5)
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width_px
    assert visit.errors == []
    visit.context.close()


def test_threads_are_used_though_the_host_sends_no_headers(visit: Visit) -> None:
    assert visit.page.evaluate("crossOriginIsolated")
    threads = min(math.ceil(visit.page.evaluate("navigator.hardwareConcurrency") / 2), 4)
    assert visit.page.inner_text("#engine") == f"WebAssembly, {threads} thread{'s' if threads > 1 else ''}"


def test_a_file_that_is_no_video_is_one_line_and_the_next_one_is_looked_at(
    visit: Visit, listed: Path, tmp_path: Path
) -> None:
    path = tmp_path / "notes.mp4"
    path.write_bytes(b"no video at all" * 100)
    visit.page.set_input_files("#file", path)
    message = visit.page.wait_for_selector("#message:not([hidden])", timeout=WAIT_MS)
    assert message.inner_text() == "notes.mp4: this browser reads no video in it; take an mp4 (H.264) or webm file"
    visit.choose(listed.parent / f"{DARK}.mp4")
    assert visit.likeliest() == "dark & <b>grim</b>"  # shown as it is
    assert not visit.page.is_visible("#message")


def test_a_dropped_clip_is_looked_at(visit: Visit, listed: Path) -> None:
    content = base64.b64encode((listed.parent / f"{BRIGHT}.mp4").read_bytes()).decode()
    visit.page.evaluate(
        """(text) => {
             const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
             const dataTransfer = new DataTransfer();
             dataTransfer.items.add(new File([bytes], "dropped.mp4", {type: "video/mp4"}));
             document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}));
           }""",
        content,
    )
    visit.page.wait_for_selector("video[controls]", timeout=WAIT_MS)
    assert visit.likeliest() == "bright"


def test_once_loaded_it_needs_no_network(browser: Any, page_folder: Path, listed: Path) -> None:
    host = Host(page_folder)
    visit = Visit(browser, host.url)
    host.stop()
    visit.page.reload()
    visit.wait_until_ready()
    visit.choose(listed.parent / f"{BRIGHT}.mp4")
    assert visit.likeliest() == "bright"
    visit.context.close()


def test_weights_may_have_half_as_many_bytes_and_what_else_is_in_the_folder_stays(
    saved: Path, listed: Path, archive: Path, cache: Path, page_folder: Path, tmp_path: Path
) -> None:
    assert cache.is_dir()
    (tmp_path / "CNAME").write_text("example.org")
    options: dict[str, Any] = {"format": "web", "out": tmp_path, "runtime": archive, "precision": "float16"}
    with pytest.raises(SettingsError, match="exists and holds CNAME; choose another folder, or replace the page in it"):
        export(saved, listed, workers=0, **options)
    assert [each.name for each in tmp_path.iterdir()] == ["CNAME"]
    result = export(saved, listed, workers=0, overwrite=True, **options)
    assert result.path == tmp_path and result.same_answers == 1.0 and 0 < result.error < 1e-2
    assert {each.name for each in tmp_path.iterdir()} == OWN_FILES | {"runtime", "CNAME"}
    files = [folder / "model.onnx" for folder in (tmp_path, page_folder)]
    assert files[0].stat().st_size < 0.65 * files[1].stat().st_size
    clips = torch.randint(0, 256, (4, FRAMES, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    first, second = (load_any(file)(clips).softmax(1) for file in files)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-2)


def test_a_mistake_is_one_line(
    saved: Path, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    unplug_npm(tmp_path, monkeypatch)
    dense = gs.create_model("test_resnet", classes=["a"], size_px=SIZE_PX, num_segments=4, task="spot", fps=5).eval()
    gs.save_model(dense, tmp_path / "dense.safetensors")
    (tmp_path / "other.tgz").write_bytes(b"something else")
    (tmp_path / "file").write_text("")
    npm = f"npm pack {browser_runtime.PACKAGE}@{browser_runtime.VERSION}"
    for model, options, message in (
        (saved, [], f"{npm}: .*; .*, or run it where there is npm and a network, and give the file .* as --runtime"),
        (saved, ["--runtime", str(tmp_path / "none.tgz")], f"--runtime .*none.tgz: no such file; {npm} writes it"),
        (saved, ["--runtime", str(tmp_path / "other.tgz")], f"other.tgz: is not onnxruntime-web .*; {npm} writes it"),
        (saved, ["--out", str(tmp_path / "file")], "--out .*file: is a file; choose a folder"),
        (saved, ["--out", str(tmp_path / "no" / "page")], "no folder .*; create it"),
        (saved, ["--precision", "bf16"], "--precision bf16 with --format web.* --precision float16"),
        (saved, ["--precision", "int8"], "--precision int8 with --format web"),
        (tmp_path / "dense.safetensors", [], "--format web of a model with .*; its page is for one answer a clip"),
    ):
        out = [] if "--out" in options else ["--out", str(tmp_path / "page")]
        with pytest.raises(SystemExit) as stop:
            main(["export", str(model), str(listed), "--format", "web", *out, *options])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and said.count("\n") == 1
        assert re.search(message, said), said
    assert not (tmp_path / "page").exists()
    with pytest.raises(SettingsError, match="`runtime` a.tgz with `format=onnx`; it is for web"):
        export(saved, listed, format="onnx", runtime="a.tgz", out=tmp_path / "model.onnx")


def unplug_npm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let npm know nothing yet, and ask where nobody answers."""
    for name, value in (("registry", "http://127.0.0.1:9"), ("cache", str(folder / "npm")), ("fetch_retries", "0")):
        monkeypatch.setenv(f"npm_config_{name}", value)


def test_the_runtime_is_fetched_once_and_a_damaged_one_is_refused(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.tgz").write_bytes(content)
    with pytest.raises(SettingsError, match=r"damaged.tgz: is not onnxruntime-web"):
        browser_runtime.fetch_runtime(tmp_path / "damaged.tgz")
    folder = browser_runtime.fetch_runtime()
    unplug_npm(tmp_path, monkeypatch)
    assert browser_runtime.fetch_runtime() == folder
    assert sorted(each.name for each in folder.iterdir()) == sorted(browser_runtime.FILES)
    assert b"MIT License" in (folder / browser_runtime.FILES[0]).read_bytes()[:300]
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "other cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match="npm is not installed; install it, or run it where there is npm"):
        browser_runtime.fetch_runtime()


def test_the_help_names_the_version_that_is_taken() -> None:
    source = Path(sys.modules[ExportSettings.__module__].__file__ or "").read_text("utf-8")
    assert f"npm pack {browser_runtime.PACKAGE}@{browser_runtime.VERSION}" in source
