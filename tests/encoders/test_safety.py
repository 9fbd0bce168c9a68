"""Checkpoint files: nothing inside them is run, and every kind of bad file is named."""

import argparse
import os
import pickle
import types
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medfm.core.errors import WeightsError
from medfm.encoders.safety import check_state, load_checkpoint, requested_globals, require_checkpoint

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}


class Touch:
    """A pickle that creates a file when it is loaded carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.path}",))


def same(loaded: dict, expected: dict = STATE) -> bool:
    return set(loaded) == set(expected) and all(torch.equal(loaded[k], expected[k]) for k in expected)


def test_torch_file_nested(tmp_path):
    torch.save({"teacher": STATE, "epoch": 3}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert same(loaded["teacher"]) and loaded["epoch"] == 3


def test_old_torch_format(tmp_path):
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(tmp_path / "old.pth"))


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin", "noend"])
def test_safetensors_whatever_its_name(tmp_path, name):
    save_file(STATE, tmp_path / name)
    assert same(load_checkpoint(tmp_path / name))


def test_torch_file_under_a_safetensors_name(tmp_path):
    torch.save(STATE, tmp_path / "a.safetensors")
    assert same(load_checkpoint(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, zipped):
    mark = tmp_path / "was-run"
    torch.save({"teacher": STATE, "x": Touch(mark)}, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError) as error:
        load_checkpoint(tmp_path / "evil.pth")
    assert "system" in str(error.value) and "refused" in str(error.value)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_plain_pickle_that_runs_code(tmp_path):
    mark = tmp_path / "was-run"
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Touch(mark)))
    with pytest.raises(WeightsError):
        load_checkpoint(tmp_path / "evil.pkl")
    assert not mark.exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(WeightsError, match=r"torch\.nn\.modules\.linear\.Linear|cannot be read safely"):
        load_checkpoint(tmp_path / "module.pth")


def test_settings_holders_only_when_the_card_says_so(tmp_path):
    torch.save({"model": STATE, "args": argparse.Namespace(lr=1)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"argparse\.Namespace"):
        load_checkpoint(tmp_path / "a.pth")
    assert same(load_checkpoint(tmp_path / "a.pth", ("argparse.Namespace",))["model"])
    with pytest.raises(WeightsError, match=r"argparse\.Namespace"):
        load_checkpoint(tmp_path / "a.pth")  # permission for one call does not stay


def test_a_card_cannot_allow_what_is_not_harmless(tmp_path):
    mark = tmp_path / "was-run"
    torch.save({"x": Touch(mark)}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="refused"):
        load_checkpoint(tmp_path / "evil.pth", ("posix.system", "os.system", "nt.system"))
    assert not mark.exists()


def test_requested_globals_are_read_without_running(tmp_path):
    mark = tmp_path / "was-run"
    torch.save({"x": Touch(mark), "y": types.SimpleNamespace(a=1)}, tmp_path / "evil.pth")
    names = requested_globals(tmp_path / "evil.pth")
    assert any(name.endswith(".system") for name in names)
    assert "types.SimpleNamespace" in names
    assert not mark.exists()
    assert requested_globals(tmp_path / "nothing") == []


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_half_downloaded_torch_file(tmp_path, keep):
    torch.save({"w": torch.randn(100, 100)}, tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "part.pth").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(WeightsError, match="half downloaded"):
        load_checkpoint(tmp_path / "part.pth")


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_half_downloaded_safetensors(tmp_path, keep):
    save_file({"w": torch.randn(100, 100)}, tmp_path / "whole.safetensors")
    data = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "part.safetensors").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(WeightsError, match="half downloaded"):
        load_checkpoint(tmp_path / "part.safetensors")


def test_half_downloaded_old_format(tmp_path):
    torch.save({"w": torch.randn(100, 100)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "old.pth").read_bytes()
    (tmp_path / "part.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError):
        load_checkpoint(tmp_path / "part.pth")


def test_a_zip_that_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(WeightsError):
        load_checkpoint(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>login</html>", "web page"),
        (b"\n  <html><body>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "Git LFS pointer"),
        (b"hello world, I am a text", "not a checkpoint"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "not a checkpoint"),
        (b"\x00" * 32, "not a checkpoint"),
        (b"P", "not a checkpoint"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value)


def test_a_folder_and_nothing(tmp_path):
    with pytest.raises(WeightsError, match="folder was given"):
        load_checkpoint(tmp_path)
    with pytest.raises(WeightsError, match="checkpoint file does not exist"):
        load_checkpoint(tmp_path / "none.pth")


def test_a_missing_file_is_answered_with_what_is_there(tmp_path):
    (tmp_path / "encoder.pth").write_bytes(b"x")

    def said(path: Path) -> WeightsError:
        with pytest.raises(WeightsError) as caught:
            require_checkpoint(path)
        return caught.value

    near = said(tmp_path / "encodr.pth")
    assert near.where == str(tmp_path / "encodr.pth") and "'random'" in str(near.expected)
    assert f"in {tmp_path} there is encoder.pth; " in str(near.fix)
    assert "there is" not in str(said(tmp_path / "zzz" / "q.pth").fix), "nothing near, nothing guessed"
    assert f"in {tmp_path} there is encoder.pth" in str(said(tmp_path / "encoder.pt" / "w.pth").fix), "a folder's name"
    assert "encoder.pth is a file, not a folder" in str(said(tmp_path / "encoder.pth" / "w.pth").fix)
    for found in (near, said(tmp_path / "zzz")):
        assert "medfm doctor" in str(found.fix)
    assert require_checkpoint(tmp_path / "encoder.pth") == 1


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    torch.save(STATE, tmp_path / "a.pth")

    def refuse(self: Path, *args: object, **options: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WeightsError, match="Permission denied"):
        load_checkpoint(tmp_path / "a.pth")


def test_check_state():
    assert check_state(STATE, "x") is STATE
    with pytest.raises(WeightsError, match="holds a list"):
        check_state([1], "x")
    with pytest.raises(WeightsError, match="holds a Tensor"):
        check_state(torch.zeros(2), "x")


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_named_as_what_it_is(tmp_path):
    """OpenAI's own CLIP files are such programs; calling them damaged would send people in circles."""
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "ViT-B-16.pt")
    with pytest.raises(WeightsError, match="TorchScript archive") as error:
        load_checkpoint(tmp_path / "ViT-B-16.pt")
    assert "safetensors" in str(error.value)
