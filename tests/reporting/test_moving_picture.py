"""Films of drawings: frames forth and back, one palette, ffmpeg only where it is there."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfm.core.errors import ConfigError, MissingExtraError, StoreError
from medfm.reporting import moving_picture
from medfm.reporting.drawing import Areas, Drawing, rectangle
from medfm.reporting.moving_picture import write_moving


def frame(place: float, colour: str = "#d94801", width: float = 20.0) -> Drawing:
    drawing = Drawing(width, 10.0, "frame")
    drawing.add(Areas([rectangle(place, 2, 4, 6)], colour))
    return drawing


FRAMES = [frame(x) for x in (1.0, 6.0, 11.0, 15.0)]


def read(path) -> list[np.ndarray]:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(np.asarray(image.convert("RGB")))
    return found


def centre(pixels: np.ndarray) -> float:
    coloured = np.argwhere(pixels.sum(axis=2) < 500)
    return float(coloured[:, 1].mean()) / pixels.shape[1] * 20


def test_a_gif_runs_forth_and_back(tmp_path):
    path = write_moving(FRAMES, tmp_path / "a.gif", seconds=0.2)
    places = [centre(pixels) for pixels in read(path)]
    assert places == pytest.approx([3, 8, 13, 17, 13, 8], abs=0.3)
    with Image.open(path) as image:
        assert image.info["duration"] == 200 and image.info.get("loop") == 0


def test_forth_only(tmp_path):
    assert len(read(write_moving(FRAMES, tmp_path / "a.gif", back=False))) == 4


def test_equal_drawings_give_equal_files(tmp_path):
    first, second = (write_moving(FRAMES[:2], tmp_path / name) for name in ("a.gif", "b.gif"))
    assert first.read_bytes() == second.read_bytes()


def test_other_endings_and_sizes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no moving picture"):
        write_moving(FRAMES, tmp_path / "a.avi")
    with pytest.raises(ConfigError, match="2 sizes"):
        write_moving([frame(1), frame(1, width=30)], tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_mp4_without_ffmpeg_says_what_to_install(tmp_path, monkeypatch):
    def absent(name: str):
        raise ImportError(name)

    monkeypatch.setattr(moving_picture.importlib, "import_module", absent)
    monkeypatch.setattr(moving_picture.shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match="ffmpeg, which is not here") as caught:
        write_moving(FRAMES, tmp_path / "a.mp4")
    assert "GIF needs neither" in str(caught.value) and not list(tmp_path.iterdir())


def test_ffmpeg_gets_every_frame_and_even_sides(tmp_path, monkeypatch):
    calls = []

    def run(command, input, **settings):
        size = command[command.index("-s") + 1]
        wide, high = map(int, size.split("x"))
        assert wide % 2 == high % 2 == 0 and len(input) == 6 * wide * high * 3
        calls.append(command)
        Path(command[-1]).write_bytes(b"film")
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(moving_picture, "ffmpeg", lambda: "/usr/bin/ffmpeg")
    monkeypatch.setattr(moving_picture.subprocess, "run", run)
    assert write_moving(FRAMES, tmp_path / "a.mp4", seconds=0.5).read_bytes() == b"film"
    assert calls[0][0] == "/usr/bin/ffmpeg" and calls[0][calls[0].index("-r") + 1] == "2"


def test_a_failing_ffmpeg_leaves_nothing(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, b"", b"first\nno such codec\n")
    monkeypatch.setattr(moving_picture, "ffmpeg", lambda: "ffmpeg")
    monkeypatch.setattr(moving_picture.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(StoreError, match="no such codec"):
        write_moving(FRAMES, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
