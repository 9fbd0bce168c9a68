"""Training CLIP, FLAIR and ConVIRT from a synthetic table to a folder that every verb loads, offline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import medfm
from medfm.cli.main import main
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.synthesize import synthesize
from medfm.core.errors import ConfigError, TrainingError, WeightsError
from medfm.encoders.published import build, load_published
from medfm.encoders.registry import get_card
from medfm.training.log import read_log
from medfm.workflows.pretrain import load_recipe, pretrain

RECIPES = {"quiltnet-smoke": "histopathology", "flair-smoke": "retina", "convirt-smoke": "histopathology"}
LABEL_SETS = {"histopathology": "nct-crc-quilt", "retina": "idrid"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return {name: synthesize(name, folder / name, records=48, size=64).table for name in set(RECIPES.values())}


@pytest.fixture(scope="module")
def cohorts(tables: dict[str, Path]) -> dict[str, Cohort]:
    return {name: medfm.load_cohort(table) for name, table in tables.items()}


@pytest.fixture(scope="module", params=RECIPES)
def trained(
    request: pytest.FixtureRequest, cohorts: dict[str, Cohort], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    result = pretrain(cohorts[RECIPES[request.param]], request.param, folder)
    assert result.what == "pairs of picture and text"
    return request.param, folder


def test_the_folder_is_an_encoder_with_texts(trained: tuple[str, Path], cohorts: dict[str, Cohort]) -> None:
    recipe, folder = trained
    modality = RECIPES[recipe]
    encoder = medfm.load_encoder(folder)
    assert encoder.weights_kind == "trained here" and encoder.has_text
    assert encoder.card.modality == modality
    assert "assumed" not in encoder.weights_note  # the card states what was trained
    vectors = encoder.encode_text(["benign tissue", "severe diabetic retinopathy"])
    assert vectors.shape == (2, 64) and not torch.allclose(vectors[0], vectors[1])
    record = encoder.preprocess(cohorts[modality].read(0))[None]
    assert encoder(record).shape == (1, 64)
    assert (folder / "tokenizer/vocab.txt").is_file() == (recipe != "quiltnet-smoke")
    used = any("LABELS WERE USED" in text for text in encoder.card.spec.deviations)
    assert used == (recipe == "flair-smoke")
    assert "synthetic" in encoder.card.prose and recipe in encoder.card.prose
    untrained = medfm.load_encoder(folder, weights="random")
    assert untrained.fingerprint != encoder.fingerprint
    ends = [row for row in read_log(folder / "log.jsonl") if "val_total" in row]
    assert [row["epoch"] for row in ends] == [1, 2]


def test_zero_shot_from_the_folder_alone(
    trained: tuple[str, Path], tables: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = trained
    monkeypatch.setenv("MEDFM_OFFLINE", "1")
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path / "none"))
    modality = RECIPES[recipe]
    arguments = ["zeroshot", str(tables[modality]), "--encoder", str(folder), "--label-set", LABEL_SETS[modality]]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--target", "label", "--out", str(tmp_path / "zero")])
    assert ended.value.code == 0 and (tmp_path / "zero/report.html").is_file()


def test_the_written_recipe_repeats_the_run(
    trained: tuple[str, Path], cohorts: dict[str, Cohort], tmp_path: Path
) -> None:
    recipe, folder = trained
    again = pretrain(cohorts[RECIPES[recipe]], folder / "config.yaml", tmp_path / "again")
    one, two = medfm.load_encoder(again.folder), medfm.load_encoder(folder)
    assert one.fingerprint == two.fingerprint
    assert one.text_fingerprint == two.text_fingerprint


def test_the_weights_load_under_published_names(trained: tuple[str, Path]) -> None:
    """Translated to the layout of the published files, the trained tensors come back through the card's key map."""
    recipe, folder = trained
    encoder = medfm.load_encoder(folder)
    state = {k: v.clone() for k, v in encoder.module.state_dict().items()}
    starts = encoder.card.spec.weights.key_map.starts
    published = {}
    for key, value in state.items():
        new = next((old + key.removeprefix(ours) for old, ours in starts.items() if key.startswith(ours)), key)
        published[f"module.{new}"] = value
    assert len(published) == len(state)
    if recipe == "quiltnet-smoke":
        assert "module.token_embedding.weight" in published
    if recipe == "convirt-smoke":
        assert "module.res_features.7.0.conv1.weight" in published
    module, report = load_published(encoder.card, published)
    assert report.ok
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())


def test_another_modality_of_pictures(cohorts: dict[str, Cohort], tmp_path: Path) -> None:
    """ConVIRT takes any pictures with texts; the others do not unless told to."""
    with pytest.raises(ConfigError, match="takes histopathology records; the cohort holds retina"):
        pretrain(cohorts["retina"], "quiltnet-smoke", tmp_path / "no")
    changes = {"any_picture": True, "epochs": 1, "selection": "last"}
    result = pretrain(cohorts["retina"], "quiltnet-smoke", tmp_path / "yes", overrides=changes)
    assert medfm.load_encoder(result.folder).modality == "retina"
    ecg = replace(cohorts["retina"], modality="ecg")
    with pytest.raises(ConfigError, match="the cohort holds ecg"):
        pretrain(ecg, "convirt-smoke", tmp_path / "ecg")
    assert load_recipe("convirt-resnet50").any_picture


def test_siglip_and_coca_run_through_the_same_loop(cohorts: dict[str, Cohort], tmp_path: Path) -> None:
    for loss, column in (("siglip", "val_top1"), ("coca", "val_caption")):
        folder = tmp_path / loss
        pretrain(cohorts["histopathology"], "quiltnet-smoke", folder, overrides={"loss": loss, "epochs": 1})
        assert any(column in row for row in read_log(folder / "log.jsonl"))
        # What only the training needs is not in the folder's weights.
        names = set(medfm.load_encoder(folder).module.state_dict())
        assert names == set(build("quiltnet-tiny", device="meta").state_dict())


class TestStarts:
    def test_a_whole_network_and_a_picture_tower(self, cohorts: dict[str, Cohort], tmp_path: Path) -> None:
        file = tmp_path / "first.pt"
        torch.save(build("convirt-tiny", seed=7).state_dict(), file)
        changes = {"epochs": 1, "selection": "last", "optimisation": {"lr": 1e-12, "weight_decay": 0, "warmup": 0}}
        start = {"kind": "network", "weights": str(file)}
        result = pretrain(cohorts["retina"], "convirt-smoke", tmp_path / "whole", overrides={**changes, "start": start})
        encoder = medfm.load_encoder(result.folder)
        wanted = torch.load(file, weights_only=True)["res_l2.weight"]
        assert torch.allclose(encoder.module.res_l2.weight, wanted, atol=1e-6)
        assert "the weights of convirt-tiny (whole network)" in encoder.card.prose
        start = {"kind": "picture_tower", "card": "convirt-tiny", "weights": str(file)}
        result = pretrain(cohorts["retina"], "convirt-smoke", tmp_path / "tower", overrides={**changes, "start": start})
        encoder = medfm.load_encoder(result.folder)
        assert not torch.allclose(encoder.module.res_l2.weight, wanted, atol=1e-3)
        conv = torch.load(file, weights_only=True)["res_features.conv1.weight"]
        assert torch.allclose(encoder.module.res_features.conv1.weight, conv, atol=1e-6)

    def test_what_is_absent_or_of_another_size_is_named(
        self, cohorts: dict[str, Cohort], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path / "none"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
        start: dict = {"kind": "picture_tower", "card": "imagenet-resnet50"}
        with pytest.raises(WeightsError, match=r"start\.weights=FILE"):
            pretrain(cohorts["retina"], "flair-smoke", tmp_path / "x", overrides={"start": start})
        file = tmp_path / "r50.pt"
        torch.save(build("imagenet-resnet50").network.state_dict(), file)
        start["weights"] = str(file)
        with pytest.raises(WeightsError, match="another architecture than 'flair-tiny'"):
            pretrain(cohorts["retina"], "flair-smoke", tmp_path / "y", overrides={"start": start})


class TestRefusals:
    def test_categories(self, cohorts: dict[str, Cohort], tmp_path: Path) -> None:
        cohort = cohorts["retina"]
        with pytest.raises(TrainingError, match="no column 'grade'"):
            pretrain(cohort, "flair-smoke", tmp_path / "a", overrides={"text": {"categories": [{"column": "grade"}]}})
        empty = replace(cohort, table=cohort.table.assign(label=np.nan))
        with pytest.raises(TrainingError, match="No record has a category"):
            pretrain(empty, "flair-smoke", tmp_path / "b")
        with pytest.raises(ConfigError, match="not of the FLAIR family"):
            pretrain(cohort, "flair-smoke", tmp_path / "c", overrides={"encoder": "convirt-tiny"})

    def test_a_column_to_balance_by(self, cohorts: dict[str, Cohort], tmp_path: Path) -> None:
        from medfm.core.errors import CohortError

        with pytest.raises(CohortError, match="no column 'dataset' to balance by"):
            pretrain(cohorts["retina"], "flair-smoke", tmp_path / "a", overrides={"balance": "dataset"})
        result = pretrain(cohorts["retina"], "flair-smoke", tmp_path / "b", overrides={"balance": "site", "epochs": 1})
        assert result.pictures > 8

    def test_resume_of_another_recipe(self, cohorts: dict[str, Cohort], tmp_path: Path) -> None:
        pretrain(cohorts["histopathology"], "convirt-smoke", tmp_path / "run", overrides={"epochs": 1})
        with pytest.raises(TrainingError, match="another run"):
            changes = {"epochs": 1, "augmentation": "tissue"}
            pretrain(cohorts["histopathology"], "convirt-smoke", tmp_path / "run", overrides=changes, resume=True)


def test_published_cards_are_those_the_recipes_name() -> None:
    for name in ("quiltnet-b-32", "flair-resnet50", "convirt-resnet50"):
        assert get_card(load_recipe(name).encoder).id == name
