"""Brain masks of other programs: what is asked of them, and every way in which they fail. The programs are small scripts."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medfm.core.errors import MissingExtraError, ReadError
from medfm.encoders.preparation import programs
from medfm.encoders.preparation.programs import find_program, program_facts, program_mask
from medfm.io.volumes.write import write_nifti

GRID = np.array([[0.0, -2.0, 0.0, 10.0], [0.0, 0.0, 3.0, -5.0], [1.5, 0.0, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0]])
VOLUME = np.random.default_rng(1).uniform(1, 100, (6, 7, 5)).astype(np.float32)
HEAD = f"#!{sys.executable} -S\nimport pathlib, shutil, sys, time\nargs = sys.argv[1:]\n"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a program of a given text on the PATH, alone."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, text: str) -> Path:
        file = folder / name
        file.write_text(HEAD + text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return file

    return write


@pytest.fixture
def copies(tmp_path: Path):
    """The text of a program that has one answer ready, whatever it is given."""

    def text(result: np.ndarray, affine: np.ndarray = GRID) -> str:
        write_nifti(tmp_path / "ready.nii.gz", result, affine)
        return f"shutil.copy({str(tmp_path / 'ready.nii.gz')!r}, args[3])\n"

    return text


def ask(method: str = "synthstrip", timeout: float = 60.0, device: str = "cpu") -> np.ndarray:
    return program_mask(VOLUME, GRID, method, device, timeout, "record 9")


@pytest.mark.parametrize(("method", "name"), [("hd-bet", "hd-bet"), ("synthstrip", "mri_synthstrip")])
def test_an_absent_program_is_named_with_where_to_get_it(script, method: str, name: str) -> None:
    for call in (lambda: find_program(method), lambda: program_facts(method), lambda: ask(method)):
        with pytest.raises(MissingExtraError) as caught:
            call()
        assert name in caught.value.what and "PATH" in caught.value.what
        assert "morphological" in str(caught.value.fix)


def test_synthstrip_writes_a_mask(script, copies) -> None:
    expected = np.zeros(VOLUME.shape, bool)
    expected[1:5, 1:6, 1:4] = True
    given = expected.astype(np.float32)
    given[2, 3, 2] = 0  # holes are filled
    script("mri_synthstrip", copies(given) + "sys.exit(args[2] != '-m')\n")
    found = ask()
    assert found.dtype == bool
    np.testing.assert_array_equal(found, expected)


def test_hd_bet_writes_the_brain_and_is_told_the_processor(script, copies, tmp_path: Path) -> None:
    brain = VOLUME.copy()
    brain[:2] = 0
    script("hd-bet", copies(brain) + f"pathlib.Path({str(tmp_path / 'seen')!r}).write_text(' '.join(args[2:]))\n")
    found = ask("hd-bet")
    assert not found[:2].any() and found[2:].all()
    seen = (tmp_path / "seen").read_text().split()
    assert seen[0] == "-o" and seen[1].endswith("brain.nii.gz") and seen[2:] == ["-device", "cpu"]


def test_what_a_program_is_given(script, copies, tmp_path: Path) -> None:
    """The voxels and the grid, and nothing of the record."""
    seen = tmp_path / "seen.nii.gz"
    mask = (VOLUME > 50).astype(np.float32)
    script(
        "mri_synthstrip",
        copies(mask)
        + f"shutil.copy(args[1], {str(seen)!r})\npathlib.Path({str(tmp_path / 'name')!r}).write_text(args[1])\n",
    )
    ask()
    image = nib.load(seen)
    np.testing.assert_array_equal(np.asarray(image.dataobj), VOLUME)
    np.testing.assert_allclose(image.affine, GRID, atol=1e-5)
    assert bytes(image.header["descrip"]).strip(b"\0") == b""
    name = (tmp_path / "name").read_text()
    assert "record" not in name and not Path(name).exists(), "the temporary folder is gone"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sys.exit('no weights were found')\n", "ended with code 1: no weights were found"),
        ("sys.exit(3)\n", "ended with code 3: it said nothing"),
        ("print('done')\n", "ended without writing its result: done"),
        ("pathlib.Path(args[3]).write_bytes(b'not a volume')\n", "cannot be read"),
        ("sys.exit('cannot open ' + args[1])\n", "cannot open TEMPORARY"),
    ],
    ids=["fails", "silent", "writes nothing", "nonsense", "names its file"],
)
def test_every_failure_is_an_error_of_the_record(script, text: str, words: str) -> None:
    script("mri_synthstrip", text)
    with pytest.raises(ReadError, match=words) as caught:
        ask()
    assert caught.value.where == "record 9"
    assert "medfm-mask-" not in caught.value.what, "no path of a temporary folder"


MOVED = GRID + np.array([[0, 0, 0, 1.0], [0] * 4, [0] * 4, [0] * 4])


@pytest.mark.parametrize(
    ("result", "affine", "words"),
    [
        (VOLUME[1:], GRID, "on another grid"),
        (VOLUME, MOVED, "on another grid"),
        (VOLUME * 0, GRID, "found no brain"),
        (VOLUME * 0 + 1, GRID, "nothing but brain"),
    ],
    ids=["smaller", "moved", "empty", "full"],
)
def test_an_answer_that_cannot_be_right(script, copies, result, affine, words: str) -> None:
    script("mri_synthstrip", copies(result, affine))
    with pytest.raises(ReadError, match=words) as caught:
        ask()
    assert caught.value.where == "record 9"


def test_one_that_takes_too_long_is_stopped_with_all_that_it_started(script, tmp_path: Path) -> None:
    late = tmp_path / "late"
    script(
        "mri_synthstrip",
        "import subprocess\n"
        f"child = \"import time, pathlib; time.sleep(1.5); pathlib.Path({str(late)!r}).touch()\"\n"
        "subprocess.Popen([sys.executable, '-c', child])\ntime.sleep(60)\n",
    )  # fmt: skip
    began = time.monotonic()
    with pytest.raises(ReadError, match=r"was stopped after 0\.7 s") as caught:
        ask(timeout=0.7)
    assert time.monotonic() - began < 20 and "timeout_s" in str(caught.value.fix)
    time.sleep(1.2)
    assert not late.exists()


def test_a_file_that_is_no_program(script, tmp_path: Path) -> None:
    file = script("mri_synthstrip", "")
    file.write_text("#!/nowhere/interpreter\n")
    with pytest.raises(ReadError, match="cannot be run"):
        ask()


def test_the_gpu(script) -> None:
    given, made = Path("a"), Path("b")
    assert programs._arguments("hd-bet", "gpu", given, made)[-2:] == ["-device", "cuda"]
    assert programs._arguments("synthstrip", "gpu", given, made)[-1] == "-g"
    assert "-g" not in programs._arguments("synthstrip", "cpu", given, made)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("print('1.8')\n", "1.8"),
        ("sys.exit('usage: what is --version?')\n", "not told"),
        ("print('a banner\\nof two lines')\n", "not told"),
        ("print('x' * 200)\n", "not told"),
    ],
    ids=["tells", "refuses", "banner", "long"],
)
def test_the_version_as_told(script, text: str, version: str) -> None:
    file = script("hd-bet", text)
    facts = program_facts("hd-bet")
    assert facts == {"program": "hd-bet", "version": version, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert os.fspath(file) not in str(facts), "no path of this machine in a provenance"
