"""Brain masks of other programs: HD-BET and SynthStrip, found on the PATH, never shipped or fetched.

They get a file of their own in a temporary folder that is removed afterwards, with nothing of the record in its name
or header. Whether a program fetches its weights from the network when it is first run is its own affair.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medfm.core.errors import MedfmError, MissingExtraError, ReadError
from medfm.core.hashing import sha256_file
from medfm.encoders.preparation.steps import Programs
from medfm.io.volumes.detect import read_volume
from medfm.io.volumes.volume import spacing_of
from medfm.io.volumes.write import write_nifti

NAMES: dict[str, str] = {"hd-bet": "hd-bet", "synthstrip": "mri_synthstrip"}
_SOURCES = {
    "hd-bet": "pip install hd-bet (github.com/MIC-DKFZ/HD-BET)",
    "synthstrip": "FreeSurfer 7.3 or later brings mri_synthstrip (surfer.nmr.mgh.harvard.edu)",
}
_NEAR = 1e-3  # mm that the corners of two equal grids may be apart
_PATIENCE = 20.0  # seconds for a program to say its version


def find_program(method: Programs) -> Path:
    """The program behind a method.

    Raises:
        MissingExtraError: It is not on the PATH.
    """
    found = shutil.which(NAMES[method])
    if found is None:
        raise MissingExtraError(
            f"The program '{NAMES[method]}' was not found on the PATH.",
            where=f"volume_brain_mask, method: {method}",
            expected="a program that runs by its bare name in this shell",
            fix=f"{_SOURCES[method]}; or use method: morphological, which is built in",
        )
    return Path(found)


def program_facts(method: Programs) -> dict[str, str]:
    """Name, version as the program tells it (``not told`` where it does not) and SHA-256 of its file."""
    path = find_program(method)
    try:
        code, out, _ = _ran([str(path), "--version"], _PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        code, out = 1, ""
    lines = out.strip().splitlines()
    # A usage text or a banner is no version.
    told = lines[0].strip() if code == 0 and len(lines) == 1 and len(lines[0]) <= 80 else "not told"
    return {"program": NAMES[method], "version": told, "sha256": sha256_file(path)}


def program_mask(
    array: np.ndarray, affine: np.ndarray, method: Programs, device: str, timeout_s: float, where: str
) -> np.ndarray:
    """The brain as a program sees it: bool (i, j, k).

    Args:
        array: float32 (i, j, k), finite.
        affine: float64 (4, 4), voxel index -> RAS mm.
        method: ``"hd-bet"`` or ``"synthstrip"``.
        device: ``"cpu"`` or ``"gpu"``.
        timeout_s: Seconds after which it is stopped.
        where: Name of the record for errors.

    Raises:
        MissingExtraError: The program is not on the PATH.
        ReadError: It failed, took too long, or wrote nothing, nonsense, or another grid.
    """
    path = find_program(method)
    with tempfile.TemporaryDirectory(prefix="medfm-mask-") as temporary:
        given, made = Path(temporary, "volume.nii.gz"), Path(temporary, "brain.nii.gz")
        write_nifti(given, array, affine)
        try:
            code, out, told = _ran([str(path), *_arguments(method, device, given, made)], timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ReadError(
                f"{NAMES[method]} was stopped after {timeout_s:g} s.",
                where=where,
                fix="raise timeout_s of volume_brain_mask, or run it where it has a GPU (device: gpu)",
            ) from error
        except OSError as error:
            raise ReadError(f"{NAMES[method]} cannot be run: {error.strerror}.", where=where) from error
        if code != 0 or not made.is_file():
            last = [line.strip() for line in (told or out).splitlines() if line.strip()][-1:]
            reason = last[0].replace(temporary, "TEMPORARY")[-200:] if last else "it said nothing"
            ended = f"ended with code {code}" if code else "ended without writing its result"
            raise ReadError(
                f"{NAMES[method]} {ended}: {reason}",
                where=where,
                fix="run it by hand on one volume; or use another method of volume_brain_mask",
            )
        return _checked(made, array, affine, method, where)


def _arguments(method: Programs, device: str, given: Path, made: Path) -> list[str]:
    if method == "hd-bet":  # -device is spelt so in versions 1 and 2; "cuda" is version 2's
        return ["-i", str(given), "-o", str(made), "-device", "cpu" if device == "cpu" else "cuda"]
    return ["-i", str(given), "-m", str(made), *(["-g"] if device == "gpu" else [])]


def _checked(file: Path, array: np.ndarray, affine: np.ndarray, method: Programs, where: str) -> np.ndarray:
    """The result as a mask: HD-BET's is the brain with 0 around it, SynthStrip's the mask itself."""
    from scipy import ndimage

    try:
        volume = read_volume(file, {}, where)
    except MedfmError as error:
        raise ReadError(f"What {NAMES[method]} wrote cannot be read: {error.what}", where=where) from error
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in array.shape], indexing="ij")).reshape(3, -1)
    apart = np.abs((volume.affine - affine)[:3, :3] @ corners + (volume.affine - affine)[:3, 3:]).max()
    if volume.array.shape != array.shape or apart > _NEAR * max(1.0, float(spacing_of(affine).max())):
        raise ReadError(f"{NAMES[method]} wrote a volume on another grid than the one it was given.", where=where)
    mask = np.asarray(ndimage.binary_fill_holes(volume.array != 0))
    if not mask.any() or mask.all():
        raise ReadError(
            f"{NAMES[method]} found {'no' if not mask.any() else 'nothing but'} brain.",
            where=where,
            fix="look at the volume with medfm data show",
        )
    return mask


def _ran(command: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
    """Exit code, output and errors of a program; everything that it started is ended with it when the time is up."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, told = process.communicate(timeout=timeout_s)
    except BaseException:  # time up, or Ctrl-C: a session of its own does not hear it
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        raise
    return process.returncode, out, told
