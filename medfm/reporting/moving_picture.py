"""Drawings of one size as a moving picture: GIF by Pillow, MP4 by ffmpeg where it is found."""

from __future__ import annotations

import importlib
import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import ConfigError, MissingExtraError, StoreError
from medfm.core.files import atomic_open
from medfm.reporting.drawing import Drawing
from medfm.reporting.drawing_page import render

MOVING = (".gif", ".mp4")
_DPI = 110
_SECONDS = 300  # more than ffmpeg ever needs for a few frames


def write_moving(drawings: Sequence[Drawing], path: str | Path, *, seconds: float = 0.25, back: bool = True) -> Path:
    """Write drawings as the frames of a GIF or MP4 that runs forth and, unless told otherwise, back.

    Args:
        drawings: Frames of one size.
        path: Ends in ``.gif`` or ``.mp4``.
        seconds: Each frame is shown.
        back: Append the frames in between in reverse order, so that the picture swings.

    Raises:
        ConfigError: Another ending, or frames of different sizes.
        MissingExtraError: MP4 was asked for and there is no ffmpeg.
        StoreError: The file cannot be written, or ffmpeg failed.
    """
    ending = Path(path).suffix.lower()
    if ending not in MOVING:
        raise ConfigError(f"'{ending}' is no moving picture.", where=str(path), expected=", ".join(MOVING))
    program = ffmpeg() if ending == ".mp4" else ""
    sizes = {(d.width, d.height) for d in drawings}
    if len(sizes) != 1:
        raise ConfigError(f"The frames have {len(sizes)} sizes.", expected="one")
    frames = [_pixels(drawing) for drawing in drawings]
    if back:
        frames += frames[-2:0:-1]
    data = _gif(frames, seconds) if ending == ".gif" else _mp4(frames, seconds, program)
    with atomic_open(path) as handle:
        handle.write(data)
    return Path(path).absolute()


def ffmpeg() -> str:
    """The ffmpeg program: of the package imageio-ffmpeg, or on the search path.

    Raises:
        MissingExtraError: There is none.
    """
    try:
        package: Any = importlib.import_module("imageio_ffmpeg")
    except ImportError:
        found = shutil.which("ffmpeg")
        if found is None:
            raise MissingExtraError(
                "MP4 needs the program ffmpeg, which is not here.",
                fix="install ffmpeg, or pip install imageio-ffmpeg; a GIF needs neither",
            ) from None
        return found
    return str(package.get_ffmpeg_exe())


def _pixels(drawing: Drawing) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(render(drawing, ".png", dpi=_DPI))) as image:
        return np.asarray(image.convert("RGB"))


def _gif(frames: Sequence[np.ndarray], seconds: float) -> bytes:
    from PIL import Image

    # One palette for all frames: colours do not flicker.
    tall = Image.fromarray(np.concatenate(list(frames)))
    palette = tall.quantize(256, method=Image.Quantize.MEDIANCUT)
    images = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 * seconds), loop=0, optimize=False
    )
    return buffer.getvalue()


def _mp4(frames: Sequence[np.ndarray], seconds: float, program: str) -> bytes:
    high, wide = (side - side % 2 for side in frames[0].shape[:2])  # the codec wants even sides
    with tempfile.TemporaryDirectory(prefix="medfm-mp4-") as work:
        target = Path(work) / "out.mp4"
        command = [
            program, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{wide}x{high}", "-r", f"{1 / seconds:g}",
            "-i", "-", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(target),
        ]  # fmt: skip
        raw = b"".join(np.ascontiguousarray(frame[:high, :wide]).tobytes() for frame in frames)
        done = subprocess.run(command, input=raw, capture_output=True, timeout=_SECONDS, check=False)
        if done.returncode or not target.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise StoreError(f"ffmpeg could not write the film: {said[-1] if said else 'no reason given'}.")
        return target.read_bytes()
