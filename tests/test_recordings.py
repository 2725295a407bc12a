"""Clips of long recordings: which frames they show, and what each of these is labelled as."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WriteVideo
from hypothesis import given, settings
from hypothesis import strategies as st

from gateshift.data.clips.dataset import Augmentation
from gateshift.data.clips.mixing import Mixing
from gateshift.data.clips.recording_clips import Labeling, RecordingClips
from gateshift.data.clips.recordings import Mark, Recording, as_manifest, lists_events, read_recordings
from gateshift.data.events.events import Event, Span
from gateshift.errors import ManifestError, VideoError

LABELS = ("left", "right")


def slow_targets(labeling: Labeling, marks: list[Mark], times_s: np.ndarray) -> np.ndarray:
    """Frame by frame: of the nearest event that reaches it, or of those."""
    rows = []
    for place in range(len(times_s)):
        row = np.zeros(labeling.num_classes + 1 + (labeling.displacement > 0))
        steps = [round((mark.start_s - times_s[0]) * labeling.fps) - place for mark in marks]
        reach = max(labeling.width, labeling.displacement)
        near = min((abs(step) for step in steps if abs(step) <= reach), default=None)
        for mark, step in zip(marks, steps, strict=True):
            if abs(step) == near:
                row[mark.label] += 1
                if labeling.displacement:
                    row[-1] = step
        if near is None:
            row[0] = 1
        row[: labeling.num_classes + 1] /= row[: labeling.num_classes + 1].sum()
        rows.append(row)
    return np.array(rows, np.float32)


@pytest.mark.slow
@given(
    events=st.lists(st.tuples(st.integers(1, 3), st.integers(-10, 40)), max_size=6),
    width=st.integers(0, 2),
    displacement=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_frame_is_labelled_as_the_nearest_event_that_reaches_it(
    events: list[tuple[int, int]], width: int, displacement: int
) -> None:
    labeling = Labeling(3, 10.0, width, displacement)
    times_s = 1.0 + np.arange(25) / 10
    marks = [Mark(label, 1 + at / 10, 1 + at / 10) for label, at in events]
    np.testing.assert_allclose(labeling.targets(marks, times_s), slow_targets(labeling, marks, times_s))


def test_frames_of_a_span_are_of_its_class_from_its_start_and_before_its_end() -> None:
    targets = Labeling(2, 10.0).targets([Mark(1, 0.2, 0.5), Mark(2, 0.5, 9.0)], np.arange(8) / 10)
    assert targets.argmax(1).tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert targets.sum(1).tolist() == [1.0] * 8


def clips_of(
    recordings: list[Recording], *, fps: float = 10.0, num_frames: int = 8, **options: object
) -> RecordingClips:
    """Whole frames at the size of the counting videos' short side, flipped or not as each clip's number has it."""
    maps = {"mirror_map": torch.tensor([0, 2, 1]), "may_mirror": torch.tensor([True] * 3)}
    augmentation = Augmentation(32, num_frames, **maps, min_crop_scale=1.0, whole_frame=True)
    return RecordingClips(recordings, LABELS, augmentation, Labeling(2, fps), **options)  # type: ignore[arg-type]


def uneven(number: int) -> float:
    """When frame ``number`` of the video of varying rate is shown."""
    return 0.07 * number + 0.03 * (number % 3)


@pytest.fixture(scope="module")
def videos(
    tmp_path_factory: pytest.TempPathFactory, write_video: WriteVideo, counting_frames: Callable[..., np.ndarray]
) -> Path:
    """Counting videos of 40 frames: at 10 and at 20 a second, and at a varying rate."""
    folder = tmp_path_factory.mktemp("recordings")
    write_video(folder / "10.mp4", counting_frames(40), fps=10)
    write_video(folder / "20.mp4", counting_frames(40), fps=20)
    write_video(folder / "uneven.mp4", counting_frames(40), times=[round(1000 * uneven(n)) for n in range(40)])
    return folder


@pytest.mark.parametrize(("name", "frame"), [("10.mp4", 17), ("20.mp4", 30), ("uneven.mp4", 21)])
@pytest.mark.parametrize("by_time", [False, True])
def test_the_label_is_at_the_frame_that_shows_the_event(
    name: str, frame: int, by_time: bool, videos: Path, numbers_of: Callable[..., list[int]]
) -> None:
    seconds = {"10.mp4": frame / 10, "20.mp4": frame / 20, "uneven.mp4": round(uneven(frame), 3)}[name]
    moment = {"time_s": seconds} if by_time else {"frame": frame}
    clips = clips_of([Recording(name, videos / name, (Event(name, "left", **moment),))], background=0.0)  # type: ignore[arg-type]
    places = set()
    for index in range(12):
        sample = clips[index]
        shown, labels = numbers_of(sample["clips"]), sample["labels"]
        (place,) = labels[:, 1:].sum(1).nonzero().flatten().tolist()
        # The network sees ten a second: of a faster recording the frame itself or one beside it.
        assert abs(shown[place] - frame) <= (0 if name == "10.mp4" else 1)
        assert all(b >= a for a, b in pairwise(shown))
        places.add(place)
    assert len(places) > 3  # it is anywhere in the clip


def test_at_a_recordings_own_rate_frames_follow_each_other(videos: Path, numbers_of: Callable[..., list[int]]) -> None:
    clips = clips_of([Recording("a", videos / "20.mp4")], fps=20.0)
    for index in range(6):
        shown = numbers_of(clips[index]["clips"])
        assert shown == list(range(shown[0], shown[0] + 8))


def test_a_short_recording_is_filled_up_and_what_is_beyond_its_end_counts_nothing(
    videos: Path, numbers_of: Callable[..., list[int]]
) -> None:
    clips = clips_of([Recording("a", videos / "20.mp4", (Event("a", "right", frame=39),))], fps=20.0, num_frames=45)
    sample = clips[0]
    assert numbers_of(sample["clips"]) == [*range(40), *[39] * 5]
    assert sample["labels"].sum(1).tolist() == [1.0] * 40 + [0.0] * 5
    assert float(sample["labels"][39, 1:].sum()) == 1


def test_a_flip_swaps_left_and_right_and_leaves_nothing_as_it_is(videos: Path) -> None:
    clips = clips_of([Recording("a", videos / "10.mp4", (Event("a", "left", frame=20),))], background=0.0)
    sides = [int(clips[index]["labels"][:, 1:].sum(0).argmax()) for index in range(20)]
    assert set(sides) == {0, 1}
    assert all(float(clips[index]["labels"][:, 0].sum()) == 7 for index in range(4))


def test_the_same_numbers_give_the_same_clip_and_epochs_differ(videos: Path) -> None:
    clips, again = (clips_of([Recording("a", videos / "10.mp4")], seed=3) for _ in range(2))
    assert torch.equal(clips[2]["clips"], again[2]["clips"])
    again.epoch = 1
    assert [clips.draw(i) for i in range(5)] != [again.draw(i) for i in range(5)]


@pytest.mark.slow
def test_clips_as_of_another_rate_have_the_same_labels_and_the_others_are_as_they_were(
    videos: Path, numbers_of: Callable[..., list[int]]
) -> None:
    recording = Recording("20", videos / "20.mp4", (Event("20", "left", frame=20),))
    off, on, half = (clips_of([recording], fps=20.0, num_frames=16, rate_jitter=share) for share in (0.0, 1.0, 0.5))
    kinds = []
    for index in range(16):
        plain, jittered = off[index], on[index]
        assert torch.equal(plain["labels"], jittered["labels"])
        first, *_ = shown = numbers_of(plain["clips"])
        assert shown == list(range(first, first + 16))
        other = numbers_of(jittered["clips"])
        assert all(b >= a for a, b in pairwise(other))
        assert all(-2 <= b - a <= 1 for a, b in zip(shown, other, strict=True))
        assert torch.equal(jittered["clips"], on[index]["clips"])
        sample = half[index]["clips"]
        kinds.append(torch.equal(sample, plain["clips"]))
        assert kinds[-1] or torch.equal(sample, jittered["clips"])
    assert 4 <= sum(kinds) <= 12
    on.epoch = 1
    assert not torch.equal(on[0]["clips"], jittered["clips"])


def test_long_recordings_are_drawn_more_often_and_events_as_often_as_asked(videos: Path) -> None:
    recordings = [
        Recording("a", videos / "10.mp4", (Event("a", "left", frame=3),)),
        Recording("b", videos / "20.mp4"),
    ]
    clips = clips_of(recordings, background=1.0)
    assert len(clips) == 7  # 3.9 s and 1.95 s in clips of 0.8 s
    drawn = [clips.draw(i)[0] for i in range(600)]
    assert drawn.count(0) / 600 == pytest.approx(3.9 / 5.85, abs=0.06)
    clips.background = 0.4
    shows = [number == 0 and start <= 0.31 for number, start in (clips.draw(i) for i in range(600))]
    assert sum(shows) / 600 == pytest.approx(0.6 + 0.4 * 3.9 / 5.85 * 0.31 / 3.2, abs=0.06)


def test_rare_classes_are_drawn_as_often_as_others_where_that_is_asked(videos: Path) -> None:
    events = (Event("a", "left", frame=35), *(Event("a", "right", frame=n) for n in range(4)))
    clips = clips_of([Recording("a", videos / "10.mp4", events)], background=0.0, balanced=True)
    starts = [clips.draw(i)[1] for i in range(400)]
    assert sum(start > 1 for start in starts) / 400 == pytest.approx(0.5, abs=0.08)


def test_a_recording_that_cannot_be_read_is_an_error_or_told_and_left_out(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    recordings = [Recording("broken", tmp_path / "broken.mp4"), Recording("a", videos / "10.mp4")]
    with pytest.raises(VideoError, match="broken.mp4"):
        clips_of(recordings)
    told: list[tuple[int, VideoError]] = []
    clips = clips_of(recordings, on_failure=lambda number, error: told.append((number, error)))
    assert [number for number, _ in told] == [0]
    assert {clips.draw(i)[0] for i in range(20)} == {1}


def test_a_frame_that_cannot_be_read_leaves_the_clip_out_and_moves_no_label(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "10.mp4"
    path.write_bytes((videos / "10.mp4").read_bytes())
    clips = clips_of([Recording("a", path)])
    content = bytearray(path.read_bytes())
    at = content.index(b"mdat") + 4
    content[at + 200 : at + 1200] = bytes(1000)
    path.write_bytes(content)
    failures = [sample for sample in (clips[index] for index in range(8)) if "failure" in sample]
    assert failures
    assert all("10.mp4" in sample["failure"] and sample["indices"] == 0 for sample in failures)


def test_an_event_at_a_frame_that_is_not_there_is_an_error(videos: Path) -> None:
    with pytest.raises(VideoError, match="has 40 frames, and 'left' is said to be at frame 40; correct the list"):
        clips_of([Recording("a", videos / "10.mp4", (Event("a", "left", frame=40),))])
    with pytest.raises(VideoError, match=r"ends at 3.900 s, and something is said to happen at 5.000 s; correct the"):
        clips_of([Recording("a", videos / "10.mp4", (Event("a", "left", time_s=5.0),))])


def test_a_list_of_another_file_is_told(videos: Path, tmp_path: Path) -> None:
    numbers, times_s = {"left": 1}, np.arange(40) / 10

    def marks(**event: Any) -> list[Mark]:
        return Recording("a", videos / "10.mp4", (Event("a", "left", **event),)).marks(times_s, numbers)

    assert marks(frame=7, time_s=1.2) == marks(frame=7) == [Mark(1, 0.7, 0.7)]  # a time may be rounded
    message = (
        "'left' is said to be at frame 7 and at 3.5 s, and that frame is shown at 0.700 s; correct the list, leave"
    )
    with pytest.raises(VideoError, match=message):
        marks(frame=7, time_s=3.5)
    gap_s = np.append(times_s[:20], times_s[20:] + 9)  # where a file lacks frames, the nearest one is meant
    recording = Recording("a", videos / "10.mp4", (Event("a", "left", frame=19, time_s=6.0),))
    assert recording.marks(gap_s, numbers) == [Mark(1, 1.9, 1.9)]

    record = {"video": "10", "fps": 2, "events": [{"frame": 7, "label": "left"}]}
    for length, is_other in ((39, False), (41, False), (8, True), (80, True)):
        (tmp_path / "list.json").write_text(json.dumps([{**record, "num_frames": length}]))
        listed = read_recordings(tmp_path / "list.json", "spot", root=videos)[0]
        if not is_other:
            assert listed.marks(times_s, numbers) == [Mark(1, 0.7, 0.7)]
            continue
        with pytest.raises(VideoError, match=f"has 40 frames, and its list says {length}, as of a file of another"):
            listed.marks(times_s, numbers)


def test_an_event_just_beyond_an_end_is_at_the_frame_there(videos: Path) -> None:
    clips = clips_of([Recording("a", videos / "10.mp4", (Event("a", "right", time_s=4.3),))], background=0.0)
    assert all(clips[index]["labels"][-1, 1:].sum() == 1 for index in range(4))
    late = np.arange(5.0, 9.0, 0.1)  # as of a file whose sound begins before its pictures
    recording = Recording("a", videos / "10.mp4", (Event("a", "left", time_s=4.6),), (Span(1.0, 6.0, "right"),))
    assert recording.marks(late, {"left": 1, "right": 2}) == [Mark(2, 1.0, 6.0), Mark(1, 5.0, 5.0)]
    with pytest.raises(VideoError, match=r"begins at 5.000 s, and something is said to happen at 4.400 s; correct the"):
        Recording("a", videos / "10.mp4", (Event("a", "left", time_s=4.4),)).marks(late, {"left": 1})


def test_images_need_a_rate(
    tmp_path: Path, write_folder: Callable[..., Path], counting_frames: Callable[..., np.ndarray]
) -> None:
    folder = write_folder(tmp_path / "frames", counting_frames(12), pattern="{:06d}.png", first=0)
    with pytest.raises(VideoError, match="images have no clock, and nothing says how many there are a second"):
        clips_of([Recording("frames", folder)])
    clips = clips_of([Recording("frames", folder, (Event("frames", "left", frame=5),), fps=10.0)], background=0.0)
    assert float(clips[0]["labels"][:, 1:].sum()) == 1


def test_lists_of_every_kind_are_read(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("path,time_s,label\n10.mp4,1.5,hit\n20.mp4,,\n")
    (tmp_path / "spans.csv").write_text("path,label,start,end\n10.mp4,walk,0.5,2\n")
    record = {"video": "20", "num_frames": 40, "num_events": 1, "fps": 20, "events": [{"frame": 7, "label": "hit"}]}
    (tmp_path / "train.json").write_text(json.dumps([record]))
    events = read_recordings(tmp_path / "events.csv", "spot", root=videos)
    assert [(each.name, len(each.events)) for each in events] == [("10.mp4", 1), ("20.mp4", 0)]
    (found,) = read_recordings(tmp_path / "train.json", "spot", root=videos)
    assert (found.path, found.fps, found.events[0].frame) == (videos / "20.mp4", 20, 7)
    (spans,) = read_recordings(tmp_path / "spans.csv", "segment", root=videos)
    assert spans.spans == (Span(0.5, 2.0, "walk"),)
    assert [lists_events(tmp_path / name) for name in ("events.csv", "train.json", "spans.csv", "none.csv")] == [
        True,
        True,
        False,
        False,
    ]
    (tmp_path / "quoted.csv").write_text('"path","time_s","label"\n"10.mp4","1.5","hit"\n')
    assert lists_events(tmp_path / "quoted.csv")
    assert as_manifest(events, tmp_path / "events.csv").class_names() == ["hit"]
    with pytest.raises(ManifestError, match=r"events.csv: 10.mp4: .* is not there; correct the list, or set `root`"):
        read_recordings(tmp_path / "events.csv", "spot")


def test_a_list_of_parts_of_a_recording_is_read_from_its_file(
    videos: Path, tmp_path: Path, numbers_of: Callable[..., list[int]]
) -> None:
    listed = [
        {"video": f"20_{start:08d}_{end:08d}", "num_frames": end - start, "fps": 20, "events": [event]}
        for start, end, event in ((4, 14, {"frame": 3, "label": "left"}), (25, 40, {"frame": 14, "label": "right"}))
    ]
    path = tmp_path / "parts.json"
    path.write_text(json.dumps(listed))
    found = read_recordings(path, "spot", root=videos)
    for recording, (start, end) in zip(found, ((4, 14), (25, 40)), strict=True):
        video, times_s = recording.open()
        with video:
            assert numbers_of(video.read(range(video.num_frames))) == list(range(start, end))
        assert times_s == pytest.approx(np.arange(end - start) / 20, abs=1e-6)
        (mark,) = recording.marks(times_s, {"left": 1, "right": 2})
        assert mark.start_s == pytest.approx((3 if start == 4 else 14) / 20, abs=1e-6)

    # One frame too many, no such recording, and a name whose length is another.
    for name, length, error in (
        ("20_00000030_00000041", 11, "has 40 frames, and frames 30 to 40 of it are listed"),
        ("gone_00000030_00000040", 10, "gone_00000030_00000040 is not there"),
        ("20_00000030_00000040", 9, "20_00000030_00000040 is not there"),
    ):
        path.write_text(json.dumps([{**listed[0], "video": name, "num_frames": length}]))
        with pytest.raises((ManifestError, VideoError), match=error):
            read_recordings(path, "spot", root=videos)[0].open()


def test_a_video_of_two_names_is_an_error(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("path,time_s,label\n10.mp4,1.5,hit\n./10.mp4,2,hit\n")
    with pytest.raises(ManifestError, match=r"10\.mp4 and \./10\.mp4 are one video; name it alike in all of its rows"):
        read_recordings(tmp_path / "events.csv", "spot", root=videos)


def test_a_path_of_windows_is_told(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("path,time_s,label\nrec\\10.mp4,1.5,hit\n")
    with pytest.raises(ManifestError, match=r"the path has folders of Windows, with \\; write / between folders"):
        read_recordings(tmp_path / "events.csv", "spot", root=videos)


def test_clips_are_mixed_with_the_labels_of_each_frame() -> None:
    clips = torch.randint(0, 256, (3, 4, 3, 2, 2), dtype=torch.uint8)
    labels = torch.rand(3, 4, 5)
    mixed, soft = Mixing(4, mixup=0.2, seed=1).mix(clips, labels, epoch=0, batch=1)
    share = ((soft - labels.roll(1, 0)) / (labels - labels.roll(1, 0))).mean()
    assert 0 <= float(share) <= 1
    torch.testing.assert_close(mixed, share * clips / 255 + (1 - share) * clips.roll(1, 0) / 255)
    same, again = Mixing(4, mixup=0.2, seed=1).mix(clips, labels, epoch=0, batch=1)
    assert torch.equal(same, mixed)
    assert torch.equal(again, soft)
