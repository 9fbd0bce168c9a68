"""What the cards of the baselines on brain volumes must say, and that small networks of their families conform."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from medfm.cli.main import main
from medfm.encoders.card import render_card
from medfm.encoders.keymaps import match
from medfm.encoders.load import load_encoder
from medfm.encoders.lookalikes import _fits
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.published import build, plain_shapes
from medfm.encoders.registry import get_card, list_encoders
from medfm.modalities.record import Record
from medfm.testing import check_encoder

MEDICALNET = ["medicalnet-resnet18-3d", "medicalnet-resnet50-3d"]
NETWORKS = [*MEDICALNET, "swinunetr-encoder"]
ALL = [*NETWORKS, "brain-volume-stats"]
DIMS = {
    "medicalnet-resnet18-3d": 512,
    "medicalnet-resnet50-3d": 2048,
    "swinunetr-encoder": 768,
    "brain-volume-stats": 528,
}
CONFORMS = (
    "batch of 1 against batch of 4",
    "a checkpoint with a tensor missing is refused",
    "the fingerprint sees one changed weight",
    "the fingerprint sees other preprocessing",
)


@pytest.fixture(autouse=True)
def no_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file looks like is tested elsewhere; it takes building every network once."""
    monkeypatch.setattr("medfm.encoders.published.hints", lambda report, *_: report)


def small_card(folder: Path, name: str, args: dict[str, object], dim: int, size: list[int], shape: list[int]) -> Path:
    """The card with a small network on small volumes, as a file."""
    card = get_card(name)
    spec = card.spec.to_dict()
    for step in spec["preprocessing"]:
        if step["step"] == "volume_size":
            step["size"] = size
    spec["architecture"]["args"] |= args
    spec |= {"id": f"small-{name}", "parameters": None, "input": {"shape": [1, *shape]}}
    spec["embedding"]["dim"] = dim
    header = card.header.model_copy(update={"medfm": type(card.spec).model_validate(spec)})
    path = folder / f"small-{name}.md"
    path.write_text(render_card(header, card.prose), encoding="utf-8")
    return path


def test_small_networks_of_medicalnet_conform(tmp_path):
    """All of preprocessing, loading, batches and fingerprints; the published sizes are too slow for that."""
    card = small_card(tmp_path, MEDICALNET[0], {"width": 2}, 16, [12, 20, 16], [16, 20, 12])
    assert set(CONFORMS) <= set(check_encoder(card).passed)


def test_a_small_swin_conforms(tmp_path):
    pytest.importorskip("einops")
    args = {"width": 6, "depths": [1, 1, 1, 1], "heads": [1, 1, 1, 1], "window": 3}
    card = small_card(tmp_path, "swinunetr-encoder", args, 96, [32, 32, 32], [32, 32, 32])
    assert set(CONFORMS) <= set(check_encoder(card).passed)


def test_the_formula_conforms_on_small_volumes(tmp_path):
    card = small_card(tmp_path, "brain-volume-stats", {"bins": 4, "cells": 2}, 12, [12, 14, 10], [12, 14, 10])
    assert "weights are refused" in check_encoder(card).passed


@pytest.mark.parametrize("name", ALL)
def test_facts(name):
    card = get_card(name)
    spec = card.spec
    assert card.path.stem == card.id == name and name in list_encoders("brain_mri") and spec.modality == "brain_mri"
    assert spec.embedding.dim == DIMS[name] and not spec.embedding.normalised and spec.text is None
    assert spec.input.shape == Preprocessing(spec.preprocessing).shape
    assert spec.results == () and spec.licence_note
    assert all(source.sha256 is None for source in spec.weights.sources)


def test_volumes_are_those_of_ldae_where_the_network_allows():
    """Same voxels and field of view, so that a difference is the network's."""
    ldae = {step.step: step for step in get_card("ldae-brain-mri").spec.preprocessing}
    for name in MEDICALNET:
        steps = {step.step: step for step in get_card(name).spec.preprocessing}
        assert (
            steps["volume_spacing"] == ldae["volume_spacing"] and steps["volume_size"].size == ldae["volume_size"].size
        )
        assert steps["volume_scale"].method == "z_score_above_zero" and steps["slice_first"].plane == "axial_rows"


@pytest.mark.parametrize(
    ("name", "count", "published"), [(MEDICALNET[0], 32_986_176, 32.99), (MEDICALNET[1], 46_155_072, 46.21)]
)
def test_parameters_are_those_of_the_publication(name, count, published):
    """MedicalNet's README counts the head of a demonstration in millions, at most 0.06 of them."""
    module = build(name, device="meta")
    assert sum(p.numel() for p in module.parameters()) == get_card(name).spec.parameters == count
    assert 0 <= published - count / 1e6 < 0.06


@pytest.mark.parametrize("name", MEDICALNET)
def test_the_published_layout_of_medicalnet(name):
    """Nested, under module., with or without counters and a head; by names and shapes alone."""
    card = get_card(name)
    shapes = plain_shapes(card)
    key_map = card.spec.weights.key_map
    bare = {f"module.{plain}": torch.empty(shape, device="meta") for plain, shape in shapes.items()}
    assert "module.conv1.weight" in bare and tuple(bare["module.conv1.weight"].shape) == (64, 1, 7, 7, 7)
    assert ("module.layer1.0.downsample.0.weight" in bare) is (name == MEDICALNET[1])
    assert not any(plain.endswith("downsample.0.bias") for plain in shapes)
    more = {
        plain.replace("running_mean", "num_batches_tracked"): torch.tensor(1)
        for plain in bare
        if "running_mean" in plain
    }
    more |= {"module.conv_seg.0.weight": torch.zeros(2, 2), "module.fc.weight": torch.zeros(2, 2)}
    for extra in ({}, more):
        tensors, report = match({"state_dict": bare | extra, "epoch": 3}, shapes, key_map, name)
        assert report.ok and len(tensors) == len(shapes) and set(report.dropped) == set(extra)
    sources = card.spec.weights.sources
    depth = re.search(r"\d+", name).group()
    assert [source.repo for source in sources] == [f"TencentMedicalNet/MedicalNet-Resnet{depth}"] * 2
    assert [source.filename for source in sources] == [f"resnet_{depth}_23dataset.pth", f"resnet_{depth}.pth"]


def test_a_file_of_the_other_depth_does_not_fit():
    shapes = {name: plain_shapes(get_card(name)) for name in MEDICALNET}
    ghost = {f"module.{k}": torch.empty(v, device="meta") for k, v in shapes[MEDICALNET[0]].items()}
    report = match({"state_dict": ghost}, shapes[MEDICALNET[1]], get_card(MEDICALNET[1]).spec.weights.key_map, "f")[1]
    assert not report.ok and report.missing and report.mismatched
    assert _fits({"state_dict": ghost}, get_card(MEDICALNET[0]), "f")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_without_kernels_of_volumes_is_ruled_out_without_building(name, monkeypatch):
    def never(*args: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr("medfm.encoders.lookalikes.plain_shapes", never)
    assert not _fits({"conv1.weight": torch.zeros(64, 1, 7, 7), "norm.weight": torch.zeros(4)}, get_card(name), "f")
    with pytest.raises(AssertionError, match="built"):
        _fits({"conv1.weight": torch.zeros(4, 1, 3, 3, 3)}, get_card(name), "f")


@pytest.mark.parametrize("name", NETWORKS)
def test_prose_answers_a_clinicians_questions(name):
    prose = get_card(name).prose
    for heading in ("What it is", "What it is for", "What it is not for", "How it was trained", "How to use it here"):
        assert f"## {heading}\n" in prose
    for heading in ("Published figures", "Known traps", "What is not verified", "Licence"):
        assert f"## {heading}\n" in prose
    for words in (
        f'load_encoder("{name}"',
        "not a medical device",
        "No published weights could be had",
        "synthetic weights",
    ):
        assert words in prose
    section = prose.split("## Published figures\n")[1].split("\n## ")[0]
    assert section.startswith("None on brain MRI")
    assert "not measured here" in section or not re.search(r"\d\.\d", section)


@pytest.mark.parametrize("name", ALL)
def test_prose_fits_and_names_no_machine(name):
    card = get_card(name)
    assert max(len(line) for line in card.prose.splitlines() if not line.startswith("|")) <= 140
    assert not re.search(r"(?<![\w.])/(home|work|root|tmp|Users)/", card.path.read_text(encoding="utf-8"))


def test_traps_are_written_down():
    for name in MEDICALNET:
        card = get_card(name)
        text = " ".join(card.spec.deviations)
        for words in ("DILATED OR STRIDED", "standard normal noise", "56 x 448 x 448", "no gradient"):
            assert words in text
        assert card.licence == "mit" and card.spec.architecture.args["dilated"] is True
    swin = get_card("swinunetr-encoder")
    text = " ".join(swin.spec.deviations)
    for words in ("TRAINED ON CT", "Hounsfield", "-1000 to 1000", "96 voxels"):
        assert words in text
    assert "has never seen an MR image" in swin.prose and "states no licence of its own" in swin.spec.licence_note
    assert len(swin.spec.training_data) == 5 and all(
        "CT" in entry.title or "cell" in entry.title for entry in swin.spec.training_data
    )


def test_monais_form_is_a_change_of_one_argument(tmp_path):
    """Two embeddings of one file are never taken for each other: the form belongs to the fingerprint."""
    card = small_card(tmp_path, MEDICALNET[1], {"width": 1}, 32, [16, 16, 16], [16, 16, 16])
    ours, theirs = (load_encoder(card, weights="random", architecture={"dilated": form}) for form in (True, False))
    x = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    assert ours.fingerprint != theirs.fingerprint and not torch.equal(ours(x), theirs(x))


def test_the_formula_sees_a_head_in_any_scanner_units():
    encoder = load_encoder("brain-volume-stats")
    volume = np.zeros((40, 50, 40), np.float32)
    volume[10:30, 10:40, 10:30] = np.random.default_rng(0).random((20, 30, 20)) + 0.5
    one, other = (
        encoder(encoder.preprocess(Record("a", "brain_mri", volume * gain, {"spacing_mm": [4.0] * 3}))[None])
        for gain in (1, 300)
    )
    np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["swinunetr-encoder", "brain-volume-stats"])
def test_people_can_see_them(capsys, name):
    with pytest.raises(SystemExit) as stop:
        main(["encoders", "show", name])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert f"embedding pooled, {DIMS[name]} numbers" in out and "left to right, back to front" in out
