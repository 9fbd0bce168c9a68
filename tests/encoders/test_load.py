"""``medfm.load_encoder``: ids, files, folders, random weights, and what it refuses."""

import pytest
import torch
from safetensors.torch import save_file

import medfm
from medfm.core.errors import CardError, ConfigError, OfflineError, UnknownNameError, WeightsError
from medfm.encoders.dinov2 import build_vit, published_state


def test_random_weights_are_called_random_and_are_seeded(mini):
    first = medfm.load_encoder(mini.path, weights="random", device="cpu", seed=3)
    again = medfm.load_encoder(mini.path, weights="random", device="cpu", seed=3)
    other = medfm.load_encoder(mini.path, weights="random", device="cpu", seed=4)
    assert first.weights_kind == "random"
    assert "untrained" in first.weights_note and "seed 3" in first.weights_note
    assert first.key_report is None
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert "random" in repr(first)


def test_random_weights_do_not_depend_on_global_state(mini):
    torch.manual_seed(1)
    first = medfm.load_encoder(mini.path, weights="random")
    torch.manual_seed(2)
    assert medfm.load_encoder(mini.path, weights="random").fingerprint == first.fingerprint


def test_a_local_file(mini, mini_state, tmp_path):
    save_file(mini_state, tmp_path / "w.safetensors")
    encoder = medfm.load_encoder(mini.path, weights=tmp_path / "w.safetensors")
    assert encoder.weights_kind == "local file" and encoder.weights_note == "local file: w.safetensors"
    assert encoder.key_report is not None and encoder.key_report.ok


def test_every_layout_has_one_fingerprint(mini, mini_state, tmp_path):
    """Zenodo nested, hub flat and timm flat are the same encoder."""
    nested = {"teacher": {f"backbone.{name}": tensor for name, tensor in mini_state.items()}}
    nested["teacher"]["dino_head.mlp.0.weight"] = torch.zeros(3, 3)
    timm = {name: tensor for name, tensor in mini_state.items() if name != "mask_token"}
    torch.save(nested, tmp_path / "zenodo.pth")
    torch.save(mini_state, tmp_path / "hub.bin")
    save_file(timm, tmp_path / "timm.safetensors")
    prints = {
        medfm.load_encoder(mini.path, weights=tmp_path / name).fingerprint
        for name in ("zenodo.pth", "hub.bin", "timm.safetensors")
    }
    assert len(prints) == 1


def test_id_and_local_file_give_bit_identical_input_and_output(write_card, mini_state, tmp_path, monkeypatch):
    """By id with weights in the weights folder, and by file: the same numbers."""
    folder = tmp_path / "weights" / "mini"
    folder.mkdir(parents=True)
    torch.save(mini_state, folder / "m.bin")
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path / "weights"))
    path = write_card(set={"medfm.weights.sources": [{"kind": "hub", "repo": "lab/mini", "filename": "m.bin"}]})
    monkeypatch.setenv("MEDFM_CARDS", str(path.parent))
    by_id = medfm.load_encoder("mini")
    by_file = medfm.load_encoder("mini", weights=folder / "m.bin")
    assert (by_id.weights_kind, by_file.weights_kind) == ("published", "local file")
    picture = torch.randint(0, 256, (70, 90, 3), dtype=torch.uint8).numpy()
    assert torch.equal(by_id.preprocess(picture), by_file.preprocess(picture))
    assert by_id.preprocess == by_file.preprocess
    assert by_id.fingerprint == by_file.fingerprint
    batch = by_id.preprocess(picture)[None]
    assert torch.equal(by_id(batch), by_file(batch))


def test_offline_without_weights_suggests_random(offline, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path))
    with pytest.raises(OfflineError, match="weights='random'"):
        medfm.load_encoder("dinobloom-b")


def test_an_encoder_that_was_never_published():
    with pytest.raises(WeightsError, match="ever published"):
        medfm.load_encoder("dinov2-tiny")


def test_wrong_id():
    with pytest.raises(UnknownNameError, match="did you mean 'dinov2-tiny'"):
        medfm.load_encoder("dinov2-tinyy", weights="random")


def test_near_the_word_random(mini):
    with pytest.raises(WeightsError, match="did you mean weights='random'"):
        medfm.load_encoder(mini.path, weights="randon")


@pytest.mark.parametrize(
    ("kind", "message"),
    [("nothing", "does not exist"), ("folder", "folder was given"), ("empty", "empty"), ("text", "not a checkpoint")],
)
def test_bad_weights_arguments(mini, tmp_path, kind, message):
    path = tmp_path / "w"
    if kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        path.write_bytes(b"" if kind == "empty" else b"hello, hello, hello")
    with pytest.raises(WeightsError, match=message):
        medfm.load_encoder(mini.path, weights=path)


def test_a_checkpoint_of_another_model(mini, tmp_path):
    other = build_vit({"size": "custom", "width": 64, "depth": 1, "heads": 2, "patch": 14, "img_size": 56})
    torch.save({"teacher": published_state(other)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit 'mini'"):
        medfm.load_encoder(mini.path, weights=tmp_path / "other.pth")


def test_a_training_checkpoint_loads_by_the_same_call(mini, mini_state, tmp_path):
    """What a DINOv2 run resumes from: student, teacher, heads and loss centres in one dictionary."""
    state = {f"{who}.backbone.{name}": tensor for who in ("student", "teacher") for name, tensor in mini_state.items()}
    state["teacher.dino_head.last_layer.weight_v"] = torch.zeros(5, 5)
    torch.save({"model": state, "iteration": 7}, tmp_path / "resume.pth")
    assert medfm.load_encoder(mini.path, weights=tmp_path / "resume.pth").embedding_dim == 32


def test_folders_that_are_no_encoder(tmp_path):
    with pytest.raises(CardError, match="holds no encoder"):
        medfm.load_encoder(tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "tpu"])
def test_a_device_that_is_not_here(mini, device):
    with pytest.raises(ConfigError, match=device):
        medfm.load_encoder(mini.path, weights="random", device=device)


def test_auto_device(mini):
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert medfm.load_encoder(mini.path, weights="random").device.type == expected
