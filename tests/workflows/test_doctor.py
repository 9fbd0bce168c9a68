"""What the doctor says about encoders."""

from pathlib import Path

import pytest
import torch

from medfm.core.errors import UnknownNameError
from medfm.encoders.dinov2 import build_vit, published_state
from medfm.encoders.published import build
from medfm.encoders.save import save_encoder
from medfm.workflows.doctor import Diagnosis, EncoderFinding, diagnose

MINI = {"size": "custom", "width": 32, "depth": 2, "heads": 2, "patch": 14, "img_size": 56}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("MEDFM_WEIGHTS", str(folder))
    return folder


def entry(name: str, **options: bool) -> EncoderFinding:
    return diagnose((name,), **options).encoders[0]


def test_every_encoder_has_a_line(weights):
    found = diagnose()
    assert [e.id for e in found.encoders] == sorted(e.id for e in found.encoders)
    assert {"dinobloom-b", "reddino-large", "dinov2-tiny"} <= {e.id for e in found.encoders}
    assert found.ok


def test_missing_weights_are_a_warning_with_a_way_out(weights):
    line = entry("dinobloom-b")
    assert line.state == "WARN" and line.missing == "weights"
    assert line.licence == "apache-2.0"
    assert str(weights / "dinobloom-b" / "pytorch_model_b.bin") in line.fix
    assert any("MarrLab/DinoBloom" in source for source in line.sources)
    assert any("zenodo.org/records/10908163" in source for source in line.sources)


def test_offline_and_online_say_different_things(weights, monkeypatch):
    monkeypatch.setenv("MEDFM_OFFLINE", "1")
    assert entry("dinobloom-b").fix.startswith("put ")
    monkeypatch.delenv("MEDFM_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert "downloads it" in entry("dinobloom-b").fix


def test_nothing_published_is_no_fault(weights):
    line = entry("dinov2-tiny")
    assert line.state == "PASS" and "nothing was ever published" in line.present and line.missing == ""


def put(weights: Path, name: str, content: bytes | dict) -> Path:
    path = weights / "dinobloom-s" / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


def test_present_weights_pass(weights):
    put(weights, "pytorch_model_s.bin", b"x" * 2_000_000)
    line = entry("dinobloom-s")
    assert line.state == "PASS" and "MarrLab/DinoBloom" in line.present and "2 MB" in line.present


def test_an_empty_file_fails(weights):
    put(weights, "pytorch_model_s.bin", b"")
    found = diagnose(("dinobloom-s",))
    assert not found.ok
    assert found.encoders[0].state == "FAIL" and "empty" in found.encoders[0].missing


def test_files_are_read_only_when_asked(weights):
    path = put(weights, "pytorch_model_s.bin", b"half of a download")
    assert entry("dinobloom-s").state == "PASS"
    line = entry("dinobloom-s", check_files=True)
    assert line.state == "FAIL" and "not a checkpoint" in line.missing and str(path) in line.fix


def test_another_models_file_fails_when_read(weights):
    put(weights, "pytorch_model_s.bin", published_state(build_vit(MINI), prefix=""))
    line = entry("dinobloom-s", check_files=True)
    assert line.state == "FAIL" and "does not fit" in line.missing


def test_a_wrong_hash_fails_when_read(weights):
    put(weights, "DinoBloom-S.pth", b"other bytes")
    assert "SHA-256 differs" in entry("dinobloom-s", check_files=True).missing


def test_a_licence_conflict_stays_a_warning(weights):
    folder = weights / "reddino-small"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    line = entry("reddino-small")
    assert line.state == "WARN" and line.missing == "" and line.licence_note.startswith("CONFLICT")


def test_a_trained_encoder_by_folder(weights, tmp_path):
    save_encoder(
        tmp_path / "mine",
        build("dinov2-tiny"),
        "dinov2-tiny",
        encoder_id="mine",
        title="Mine",
        summary="s",
        prose="# Mine\n",
    )
    line = entry(str(tmp_path / "mine"), check_files=True)
    assert line.state == "PASS" and line.present.startswith("trained here")


def test_an_unknown_encoder():
    with pytest.raises(UnknownNameError, match="dinobloom-b"):
        diagnose(("dinobloom-bb",))


def test_broken_cards_are_named_and_the_rest_is_shown(weights, tmp_path, monkeypatch):
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "broken.md").write_text("---\nlicense: x\nmedfm: {}\n---\n")
    monkeypatch.setenv("MEDFM_CARDS", str(tmp_path / "cards"))
    found = diagnose()
    broken = [f for f in found.machine if f.topic == "model cards"]
    assert len(broken) == 1 and broken[0].state == "FAIL" and "broken.md" in broken[0].fix
    assert len(found.encoders) >= 8 and not found.ok


def test_a_search_path_that_does_not_exist(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDFM_CARDS", str(tmp_path / "none"))
    found = diagnose()
    assert not found.ok
    assert any("MEDFM_CARDS" in f.text for f in found.machine)


def test_ok_means_nothing_failed():
    line = entry("dinov2-tiny")
    assert Diagnosis(machine=(), encoders=(line,)).ok
    assert not Diagnosis(machine=(), encoders=(line.model_copy(update={"state": "FAIL"}),)).ok
