"""The conformance checks, run on every shipped card; and that they can fail."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from medfm.encoders import dinov2, families, get_card, registry
from medfm.testing import Conformance, ConformanceError, check_encoder, synthetic_state, synthetic_tensor

PARITY = Path(__file__).resolve().parent / "parity"
# Larger ones are checked by names and shapes; tests/parity runs the base size against golden figures.
LIGHT = 50_000_000
# Names in one folder, or put together from several; some networks have the tensors of another.
KEYS = {
    "flair-resnet50": ("flair-vision", "flair-text"),
    "ldae-brain-mri": ("ldae-encoder",),
    "pathgen-clip": ("quiltnet-b-16",),
    "clip-vit-b-16": ("quiltnet-b-16",),
    "plip": ("quiltnet-b-32",),
    "biomedclip": ("quiltnet-b-16-pmb",),
}
# No names were published, or they are those of another library, which its own tests compare.
OWN_NAMES = {
    "dinov2-tiny",
    "merl-tiny",
    "flair-tiny",
    "quiltnet-tiny",
    "convirt-tiny",
    "ldae-tiny",
    "color-histogram",
    "convirt-resnet50",
    "keep",
    "imagenet-resnet50",
    "dinov2-vitb14",
    "brain-volume-stats",
    "medicalnet-resnet18-3d",
    "medicalnet-resnet50-3d",
    "swinunetr-encoder",
}
# Large pictures: names and shapes here, tests/parity runs them; a small network of their family runs in test_radiograph.
RADIOGRAPHS = {"xrv-resnet50", "xrv-densenet121", "bpdneo-resnet50", "bpdneo-resnet50-rgb"}
FORMULAS = {"brain-volume-stats", "color-histogram"}
# Too slow on volumes: checked by names and shapes, and small ones of the same families run in their own tests.
BY_NAME = {"flair-resnet50", "medicalnet-resnet18-3d", "medicalnet-resnet50-3d", "swinunetr-encoder"}
# The whole FLAIR is checked by names and shapes here: its image tower is that of the pooled card, and slow at 512 pixels.
FLAIR = {"flair-resnet50-pooled"}
MERL = {"merl-resnet18", "merl-vit-tiny", "merl-resnet18-pooled", "merl-vit-tiny-pooled"}
SMALL = {"dinobloom-s", "reddino-small", "dinov2-tiny", "merl-tiny", "convirt-resnet50", "imagenet-resnet50"}
TINY = {"flair-tiny", "quiltnet-tiny", "convirt-tiny", "ldae-tiny"}
RUN = SMALL | MERL | FLAIR | TINY


def published(name: str) -> dict[str, tuple[int, ...]] | None:
    # The encoder alone is read from the whole checkpoint too.
    whole = name.removesuffix("-pooled")
    files = [PARITY / folder / "keys.json" for folder in KEYS.get(whole, (whole,))]
    if not all(file.is_file() for file in files):
        return None
    keys = {key: entry for file in files for key, entry in json.loads(file.read_text()).items()}
    return {key: tuple(entry["shape"] if isinstance(entry, dict) else entry) for key, entry in keys.items()}


@pytest.mark.parametrize("name", registry.list_encoders())
def test_every_shipped_encoder_conforms(name):
    result = check_encoder(name, published(name), light=1 if name in BY_NAME | RADIOGRAPHS else LIGHT)
    expected = "weights are refused" if name in FORMULAS else "every published tensor has its place"
    assert expected in result.passed
    assert ("the fingerprint sees one changed weight" in result.passed) is (name in RUN)


def test_every_published_card_has_its_keys_here():
    for name in registry.list_encoders():
        assert (published(name) is None) is (name in OWN_NAMES)


def test_synthetic_tensors_depend_on_the_name_only():
    assert (synthetic_tensor("a.weight", (2, 3)) == synthetic_tensor("a.weight", (2, 3))).all()
    assert not (synthetic_tensor("a.weight", (2, 3)) == synthetic_tensor("b.weight", (2, 3))).any()
    state = synthetic_state({"a.gamma": (50,), "b.weight": (50,)})
    assert state["a.gamma"].dtype == torch.float32
    assert abs(float(state["b.weight"].mean()) - 1) < 0.1


def test_a_failed_check_raises_with_its_title():
    result = Conformance("x")
    result.check("good", True)
    with pytest.raises(ConformanceError, match="'x' fails: bad"):
        result.check("bad", False, "a detail")
    assert result.passed == ["good"]


def card_file(tmp_path: Path, old: str, new: str) -> Path:
    """The tiny card with one line changed."""
    text = get_card("dinov2-tiny").path.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "card.md"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_a_wrong_parameter_count_is_found(tmp_path):
    with pytest.raises(ConformanceError, match="parameter count"):
        check_encoder(card_file(tmp_path, "parameters: 878336", "parameters: 878337"))


def test_preprocessing_of_another_size_is_found(tmp_path):
    with pytest.raises(ConformanceError, match="preprocessed shape"):
        check_encoder(card_file(tmp_path, "size: [112, 112]", "size: [126, 126]"))


def test_published_names_without_a_place_are_found():
    names = published("dinobloom-s")
    assert names is not None
    with pytest.raises(ConformanceError, match=r"unexpected \(1\): register_tokens"):
        check_encoder("dinobloom-s", names | {"backbone.register_tokens": (1, 4, 384)})
    del names["backbone.norm.bias"]
    with pytest.raises(ConformanceError, match=r"missing \(1\): norm\.bias"):
        check_encoder("dinobloom-s", names)


def spoil(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    family = dataclasses.replace(dinov2.FAMILY, **changes)
    monkeypatch.setattr(families, "_load", lambda reference: family if reference.endswith("FAMILY") else dinov2.ViTArgs)


def test_an_encoder_that_is_not_deterministic_is_found(monkeypatch):
    spoil(monkeypatch, embed=lambda module, x: module(x) + torch.rand(1))
    with pytest.raises(ConformanceError, match="determinism"):
        check_encoder("dinov2-tiny")


def test_an_encoder_that_mixes_its_batch_is_found(monkeypatch):
    spoil(monkeypatch, embed=lambda module, x: module(x) - module(x).mean(0))
    with pytest.raises(ConformanceError, match="batch of 1 against batch of 4"):
        check_encoder("dinov2-tiny")


def test_an_encoder_that_answers_the_same_always_is_found(monkeypatch):
    spoil(monkeypatch, embed=lambda module, x: torch.ones(len(x), 128))
    with pytest.raises(ConformanceError, match="different pictures or signals"):
        check_encoder("dinov2-tiny")


def test_an_encoder_of_another_width_is_found(monkeypatch):
    spoil(monkeypatch, embed=lambda module, x: module(x)[:, :10])
    with pytest.raises(ConformanceError, match="embedding shape"):
        check_encoder("dinov2-tiny")


def test_a_fingerprint_that_leaves_out_weights_is_found(monkeypatch):
    names = tuple(dinov2.plain_names(dinov2.build_vit({"width": 192, "depth": 6, "heads": 3}, device="meta")))
    spoil(monkeypatch, training_only=names)
    with pytest.raises(ConformanceError, match="one changed weight"):
        check_encoder("dinov2-tiny")


def test_large_networks_are_not_run():
    assert "determinism" not in check_encoder("dinov2-tiny", light=10).passed
