"""What the shipped cards must say, and that they hold together with the facts they were made from."""

import json
import re
from pathlib import Path

import pytest

from medfm.core.resources import data_folder
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.registry import get_card

PARITY = Path(__file__).resolve().parent.parent / "parity"
DINOBLOOM = ["dinobloom-s", "dinobloom-b", "dinobloom-l", "dinobloom-g"]
REDDINO = ["reddino-small", "reddino-base", "reddino-large"]
PUBLISHED = DINOBLOOM + REDDINO
ALL = [*PUBLISHED, "dinov2-tiny"]
DIMS = dict(zip(PUBLISHED, [384, 768, 1024, 1536, 384, 768, 1024], strict=True))


def test_no_card_is_forgotten_here():
    assert {path.stem for path in data_folder("model_cards").glob("*.md")} - {"README"} >= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_the_file_is_named_after_the_id(name):
    card = get_card(name)
    assert card.path.stem == card.id == name
    assert card.modality == "blood_cell"


@pytest.mark.parametrize("name", ALL)
def test_prose_answers_a_clinicians_questions(name):
    prose = get_card(name).prose
    for heading in ("What it is", "What it is not for", "How to use it here", "Known traps", "What is not verified"):
        assert f"## {heading}" in prose
    assert f'load_encoder("{name}"' in prose
    assert max(len(line) for line in prose.splitlines()) <= 140


@pytest.mark.parametrize("name", PUBLISHED)
def test_prose_is_honest(name):
    prose = get_card(name).prose
    assert "not a medical device" in prose
    assert "No published weights could be had" in prose and "synthetic weights" in prose
    assert "result tables could not be read" in prose


@pytest.mark.parametrize("name", ALL)
def test_no_path_of_a_machine(name):
    text = get_card(name).path.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(home|work|root|tmp|Users)/", text)


@pytest.mark.parametrize("name", PUBLISHED)
def test_dimensions_and_preprocessing(name):
    spec = get_card(name).spec
    assert spec.embedding.dim == DIMS[name]
    assert spec.embedding.what == "cls" and not spec.embedding.normalised
    steps = Preprocessing(spec.preprocessing)
    assert steps.shape == spec.input.shape == (3, 224, 224)
    by_name = {step.step: step for step in spec.preprocessing}
    assert by_name["normalise"].mean == (0.485, 0.456, 0.406)
    assert by_name["normalise"].std == (0.229, 0.224, 0.225)
    assert by_name["resize"].mode == "squash" and by_name["resize"].resampler == "bilinear_pil"
    assert not spec.input.other_sizes


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_positions_are_those_of_224_pixels(name):
    keys = json.loads((PARITY / name / "keys.json").read_text())
    table = next(shape for key, shape in keys.items() if key.endswith("pos_embed"))
    assert table == [1, 257, DIMS[name]]


@pytest.mark.parametrize("name", DINOBLOOM)
def test_dinobloom_sources(name):
    size = name[-1]
    hub, archive, timm = get_card(name).spec.weights.sources
    assert (hub.repo, hub.filename) == ("MarrLab/DinoBloom", f"pytorch_model_{size}.bin")
    assert hub.revision is not None and len(hub.revision) == 40
    assert archive.kind == "archive" and archive.page.endswith("10908163")
    assert archive.filename == f"DinoBloom-{size.upper()}.pth"
    assert timm.repo.startswith("1aurent/vit_") and timm.repo.endswith(".dinobloom")


def test_the_one_known_hash():
    digest = "c2f7990b003e89bcece80e379fb8fe0ba2ec392ce19b286e8a294abd99568e44"
    known = {
        (name, source.filename): source.sha256
        for name in ALL
        for source in get_card(name).spec.weights.sources
        if source.sha256
    }
    assert known == {("dinobloom-s", "DinoBloom-S.pth"): digest}


@pytest.mark.parametrize("name", REDDINO)
def test_reddino_sources_and_licence_conflict(name):
    card = get_card(name)
    (source,) = card.spec.weights.sources
    assert source.repo == f"Snarcy/RedDino-{name.split('-')[1]}" and source.filename == "model.safetensors"
    assert card.licence == "apache-2.0"
    assert card.spec.licence_note.startswith("CONFLICT") and "cc-by-nc-4.0" in card.spec.licence_note
    assert any("BLUE-GREEN-RED" in line for line in card.spec.deviations)


@pytest.mark.parametrize("name", PUBLISHED)
def test_traps_are_written_down(name):
    text = " ".join(get_card(name).spec.deviations)
    for word in ("class token", "224", "position table"):
        assert word in text
    if name in DINOBLOOM:
        for word in ("518", "MIL script", "Resampler", "C = D x K / 100"):
            assert word in text


@pytest.mark.parametrize("name", ALL)
def test_figures_have_a_source(name):
    for result in get_card(name).spec.results:
        assert result.source
        assert result.sourcing in ("secondary", "unverified")  # nobody has read the papers' tables
        if result.value is not None:
            assert 0 < result.value <= 1 and result.sourcing == "secondary"
            assert "CytoDINO" in result.source


def test_the_figures_that_could_be_sourced():
    for name, expected in (("dinobloom-l", (0.849, 0.850, 0.644)), ("dinobloom-g", (0.849, 0.850, 0.693))):
        values = {r.metric: r.value for r in get_card(name).spec.results if r.value is not None}
        assert values == dict(zip(("f1_weighted", "accuracy", "balanced_accuracy"), expected, strict=True))
    for name in ("dinobloom-s", "dinobloom-b", *REDDINO):
        assert all(r.value is None for r in get_card(name).spec.results)


@pytest.mark.parametrize("name", PUBLISHED)
def test_results_name_protocols_and_metrics_consistently(name):
    results = get_card(name).spec.results
    assert results
    assert {r.metric for r in results} <= {"accuracy", "balanced_accuracy", "f1_weighted"}
    family = name.split("-")[0]
    assert all(r.protocol.startswith(f"{family}-") for r in results)
    assert len({(r.cohort, r.protocol, r.metric, r.variant) for r in results}) == len(results)


@pytest.mark.parametrize("name", DINOBLOOM)
def test_contamination_flags(name):
    status = {entry.name: entry.status for entry in get_card(name).spec.training_data}
    assert status["acevedo"] == "held out"
    assert {status[s] for s in ("bmc", "aml_hehr", "raabin", "bccd")} == {"likely"}
    assert len(status) == 15


def test_the_tiny_network_says_what_it_is():
    card = get_card("dinov2-tiny")
    assert card.spec.weights.sources == () and card.spec.results == ()
    assert "no published weights" in card.prose
    assert card.spec.input.shape == (3, 112, 112) and card.embedding_dim == 192
