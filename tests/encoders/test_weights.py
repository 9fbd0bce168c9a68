"""Finding weights: places, hub cache, hashes, offline, downloads; no test touches a network."""

import logging
from pathlib import Path

import huggingface_hub
import pytest
import torch

from medfm.core.errors import OfflineError, WeightsError
from medfm.core.hashing import sha256_file
from medfm.encoders import weights
from medfm.encoders.card import Card, read_card
from medfm.encoders.weights import describe, find_local, instructions, local_file, locate, verify, weights_folder

REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB = {"kind": "hub", "repo": "lab/mini", "filename": "pytorch_model_m.bin", "revision": REVISION}
GENERIC = {"kind": "hub", "repo": "lab/mini", "filename": "model.safetensors"}
ARCHIVE = {"kind": "archive", "page": "https://example.org/records/1", "filename": "Mini.pth"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights folder of this test; the hub's cache is empty."""
    path = tmp_path / "weights"
    path.mkdir()
    monkeypatch.setenv("MEDFM_WEIGHTS", str(path))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)
    return path


@pytest.fixture
def with_sources(write_card):
    """A card with the given sources."""

    def make(*sources: dict) -> Card:
        return read_card(write_card(set={"medfm.weights.sources": list(sources)}))

    return make


def test_the_weights_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path))
    assert weights_folder() == tmp_path
    monkeypatch.setenv("MEDFM_WEIGHTS", " ")
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "cache"))
    assert weights_folder() == tmp_path / "cache" / "weights"
    monkeypatch.delenv("MEDFM_CACHE")
    assert weights_folder() == Path.home() / ".cache" / "medfm" / "weights"


def test_nothing_is_here(folder, with_sources):
    assert find_local(with_sources(HUB, ARCHIVE)) is None


@pytest.mark.parametrize("place", ["mini/pytorch_model_m.bin", "pytorch_model_m.bin"])
def test_a_file_put_by_hand(folder, with_sources, place):
    path = folder / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    found = find_local(with_sources(HUB))
    assert found is not None and found.path == path and found.kind == "published"
    assert "lab/mini" in found.note and REVISION[:12] in found.note


def test_a_generic_name_needs_the_folder_of_the_encoder(folder, with_sources):
    (folder / "model.safetensors").write_bytes(b"of which model?")
    assert find_local(with_sources(GENERIC)) is None
    (folder / "mini").mkdir()
    (folder / "mini" / "model.safetensors").write_bytes(b"x")
    assert find_local(with_sources(GENERIC)) is not None


def test_the_second_source_is_found_too(folder, with_sources):
    (folder / "Mini.pth").write_bytes(b"x")
    found = find_local(with_sources(HUB, ARCHIVE))
    assert found is not None and found.path.name == "Mini.pth" and "example.org" in found.note


def test_the_hub_cache_is_asked_with_the_pinned_revision(folder, with_sources, monkeypatch, tmp_path):
    cached = tmp_path / "snapshot.bin"
    cached.write_bytes(b"x")
    asked = []

    def cache(repo: str, filename: str, revision: str | None = None) -> str:
        asked.append((repo, filename, revision))
        return str(cached)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cache)
    found = find_local(with_sources(HUB))
    assert found is not None and found.path == cached
    assert asked == [("lab/mini", "pytorch_model_m.bin", REVISION)]


def test_the_hub_cache_may_remember_that_there_is_no_such_file(folder, with_sources, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: object())
    assert find_local(with_sources(HUB)) is None


def test_a_real_hub_cache_layout(with_sources, tmp_path, monkeypatch):
    """The layout the hub client writes, read by the hub client itself."""
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path / "none"))
    snapshot = tmp_path / "hub" / "models--lab--mini" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (snapshot / "pytorch_model_m.bin").write_bytes(b"x")
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda repo, name, revision: huggingface_hub.file_download.try_to_load_from_cache(
            repo, name, cache_dir=tmp_path / "hub", revision=revision
        ),
    )
    found = find_local(with_sources(HUB))
    assert found is not None and found.path == snapshot / "pytorch_model_m.bin"
    assert find_local(with_sources(HUB | {"revision": "f" * 40})) is None


def test_offline_says_which_file_which_hash_and_where(folder, with_sources, offline):
    card = with_sources(HUB | {"sha256": "a" * 64}, ARCHIVE)
    with pytest.raises(OfflineError) as error:
        locate(card)
    text = str(error.value)
    for part in (
        "pytorch_model_m.bin of huggingface.co/lab/mini",
        REVISION[:12],
        "a" * 64,
        str(folder / "mini" / "pytorch_model_m.bin"),
        "Mini.pth of https://example.org/records/1",
        "sha256 not known",
        "weights='random'",
    ):
        assert part in text, part


@pytest.mark.parametrize("variable", ["MEDFM_OFFLINE", "HF_HUB_OFFLINE"])
def test_either_switch_forbids_downloads(folder, with_sources, monkeypatch, variable):
    monkeypatch.delenv("MEDFM_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(OfflineError):
        locate(with_sources(HUB))


def test_an_archive_is_never_downloaded(folder, with_sources, monkeypatch):
    monkeypatch.delenv("MEDFM_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(WeightsError, match="cannot be downloaded automatically") as error:
        locate(with_sources(ARCHIVE))
    assert "https://example.org/records/1" in str(error.value)


def test_no_weights_were_ever_published(with_sources):
    with pytest.raises(WeightsError, match="ever published for 'mini'"):
        locate(with_sources())


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads are allowed; what answers is a function of the test."""
    monkeypatch.delenv("MEDFM_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def test_a_download_is_pinned(folder, with_sources, online, monkeypatch, tmp_path):
    target = tmp_path / "got.bin"
    target.write_bytes(b"weights")
    asked = []

    def download(repo: str, filename: str, revision: str | None = None) -> str:
        asked.append((repo, filename, revision))
        return str(target)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found = locate(with_sources(HUB))
    assert asked == [("lab/mini", "pytorch_model_m.bin", REVISION)]
    assert found.path == target and found.kind == "published"


def test_a_download_without_a_pinned_revision_warns(folder, with_sources, online, monkeypatch, tmp_path, caplog):
    target = tmp_path / "got.bin"
    target.write_bytes(b"weights")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: str(target))
    with caplog.at_level(logging.WARNING):
        assert "not pinned" in locate(with_sources(GENERIC)).note
    assert "no revision is pinned" in caplog.text


def test_a_failed_download_is_a_clear_error(folder, with_sources, online, monkeypatch):
    def download(*args: object, **options: object) -> str:
        raise ConnectionError("name resolution failed\nand more lines")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(WeightsError) as error:
        locate(with_sources(HUB))
    assert "name resolution failed" in str(error.value) and "more lines" not in str(error.value)
    assert str(folder) in str(error.value)
    assert isinstance(error.value.__cause__, ConnectionError)


def test_a_gated_repository_says_so(folder, write_card, online, monkeypatch):
    def download(*args: object, **options: object) -> str:
        raise PermissionError("401")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    card = read_card(write_card(set={"medfm.weights.sources": [HUB], "medfm.gated": True}))
    with pytest.raises(WeightsError, match="agreement"):
        locate(card)


def test_a_file_with_another_hash_is_refused(folder, with_sources):
    (folder / "pytorch_model_m.bin").write_bytes(b"half")
    with pytest.raises(WeightsError, match="SHA-256 differs") as error:
        locate(with_sources(HUB | {"sha256": "b" * 64}))
    assert "b" * 64 in str(error.value) and "4 bytes" in str(error.value)


def test_a_file_with_the_right_hash_is_taken(folder, with_sources):
    path = folder / "pytorch_model_m.bin"
    path.write_bytes(b"whole")
    assert locate(with_sources(HUB | {"sha256": sha256_file(path)})).path == path


def test_verify_without_a_known_hash_does_nothing(folder, with_sources):
    (folder / "pytorch_model_m.bin").write_bytes(b"x")
    found = find_local(with_sources(HUB))
    assert found is not None
    verify(found)


def test_a_local_file_is_called_local(with_sources, tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"x")
    found = local_file(with_sources(HUB), path)
    assert (found.kind, found.note) == ("local file", "local file: mine.pth")


def test_a_local_file_is_recognised_by_its_hash(with_sources, tmp_path):
    path = tmp_path / "renamed.pth"
    path.write_bytes(b"published bytes")
    found = local_file(with_sources(ARCHIVE | {"sha256": sha256_file(path)}), path)
    assert found.kind == "published" and "SHA-256 equals that of Mini.pth" in found.note


def test_a_local_file_that_only_bears_the_name(with_sources, tmp_path, caplog):
    path = tmp_path / "Mini.pth"
    path.write_bytes(b"other bytes")
    with caplog.at_level(logging.WARNING):
        found = local_file(with_sources(ARCHIVE | {"sha256": "c" * 64}), path)
    assert found.kind == "local file" and "NOT the published file" in found.note
    assert "another SHA-256" in caplog.text


def test_a_file_beside_the_card(write_card, tmp_path):
    source = {"kind": "file", "filename": "encoder.safetensors"}
    path = write_card(set={"medfm.weights.sources": [source]})
    assert find_local(read_card(path)) is None
    (path.parent / "encoder.safetensors").write_bytes(b"x")
    found = find_local(read_card(path))
    assert found is not None and found.kind == "local file"
    path = write_card(set={"medfm.weights.sources": [source | {"trained_here": True}]})
    found = find_local(read_card(path))
    assert found is not None and found.kind == "trained here"


def test_a_file_beside_the_card_that_is_gone(write_card, offline):
    source = {"kind": "file", "filename": "encoder.safetensors", "trained_here": True}
    card = read_card(write_card(set={"medfm.weights.sources": [source]}))
    with pytest.raises(WeightsError, match="not on this machine") as error:
        locate(card)
    assert str(card.folder / "encoder.safetensors") in str(error.value)


def test_sources_in_words(with_sources):
    card = with_sources(HUB, GENERIC, ARCHIVE, {"kind": "file", "filename": "e.safetensors"})
    words = [describe(source) for source in card.spec.weights.sources]
    assert "revision not pinned" in words[1] and "beside the card" in words[3]
    assert all(word in instructions(card) for word in words)


def test_found_is_plain_data(with_sources, tmp_path):
    torch.save({}, tmp_path / "a.pth")
    found = weights.Found(tmp_path / "a.pth", "local file", "note")
    assert found.source is None
