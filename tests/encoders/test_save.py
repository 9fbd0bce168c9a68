"""A trained encoder as a folder that loads like any other."""

import pytest
import torch

import medfm
from medfm.core.errors import CardError, ConfigError, StoreError, WeightsError
from medfm.encoders import build, load_published, save_encoder
from medfm.encoders.card_schema import TrainingSet

WORDS = {"encoder_id": "mini-trained", "title": "Mini, trained", "summary": "s", "prose": "# Trained\n\ntext\n"}


@pytest.fixture
def saved(mini, tmp_path):
    """A folder written from a network with seed 5."""
    folder = tmp_path / "run" / "encoder"
    data = [TrainingSet(name="cells", title="Some cells", status="used")]
    card = save_encoder(folder, build(mini, seed=5), mini, training_data=data, deviations=["short"], **WORDS)
    return folder, card


def test_round_trip(saved, mini):
    folder, card = saved
    encoder = medfm.load_encoder(folder)
    assert encoder.id == card.id == "mini-trained"
    assert encoder.weights_kind == "trained here"
    assert encoder.fingerprint == medfm.load_encoder(mini.path, weights="random", seed=5).fingerprint
    assert sorted(p.name for p in folder.iterdir()) == ["card.md", "encoder.safetensors"]


def test_what_the_card_says(saved):
    spec = saved[1].spec
    assert spec.training_data[0].name == "cells" and spec.deviations == ("short",)
    assert spec.results == () and spec.weights.sources[0].sha256 is not None
    assert saved[1].licence == "other"
    assert saved[1].prose == "# Trained\n\ntext\n"


def test_published_figures_of_the_base_are_not_inherited(tmp_path, write_card):
    base = medfm.encoders.get_card("dinov2-tiny")
    card = save_encoder(tmp_path / "t", build(base), base, **WORDS)
    assert card.spec.results == () and card.spec.citation == "" and card.header.datasets == ()


def test_by_file_with_the_base_id_too(saved, mini):
    module, report = load_published(mini, saved[0] / "encoder.safetensors")
    assert report.ok and torch.equal(module.vit.cls_token, build(mini, seed=5).vit.cls_token)


def test_a_changed_weights_file_is_noticed(saved):
    file = saved[0] / "encoder.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        medfm.load_encoder(saved[0])


def test_a_folder_without_its_weights(saved):
    (saved[0] / "encoder.safetensors").unlink()
    with pytest.raises(WeightsError, match="not on this machine"):
        medfm.load_encoder(saved[0])


def test_overwriting_keeps_other_files(saved, mini):
    (saved[0] / "log.jsonl").write_text("{}")
    save_encoder(saved[0], build(mini, seed=6), mini, **WORDS)
    assert (saved[0] / "log.jsonl").exists()
    assert (
        medfm.load_encoder(saved[0]).fingerprint == medfm.load_encoder(mini.path, weights="random", seed=6).fingerprint
    )


def test_a_network_of_another_architecture_is_refused(mini, tmp_path):
    with pytest.raises(ConfigError, match="not of the architecture"):
        save_encoder(tmp_path / "x", build("dinov2-tiny"), mini, **WORDS)
    assert not (tmp_path / "x").exists()


def test_a_bad_id_is_refused(mini, tmp_path):
    with pytest.raises((CardError, ConfigError), match="id"):
        save_encoder(tmp_path / "x", build(mini), mini, **(WORDS | {"encoder_id": "Not An Id"}))


def test_a_place_that_cannot_be_written(mini, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        save_encoder(tmp_path / "file" / "x", build(mini), mini, **WORDS)
