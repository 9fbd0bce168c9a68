"""Reconstruction and interpolation of tiny scans by tiny untrained networks: figures, variants, result folder."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_drawing import VISITS, tiny_cohort, tiny_system

import medfm
from medfm.core.errors import ChecksFailedError, CohortError, ConfigError, EvaluationError, WeightsError
from medfm.core.progress import Silent
from medfm.embeddings.embeddings import Failure
from medfm.evaluation.missing_scans import missing_scans
from medfm.evaluation.predictions import MAIN
from medfm.evaluation.protocol import StatisticsPlan, load_protocol
from medfm.evaluation.similarity_config import Interpolation, Reconstruction
from medfm.evaluation.similarity_metrics import figures
from medfm.evaluation.volume_similarity import mean_square_error
from medfm.reporting.html import render_report
from medfm.workflows.draw_distances import Features
from medfm.workflows.draw_interpolation import _gaps_without_visits, encoded, months_of, run_interpolation, visits_of
from medfm.workflows.draw_reconstruction import run_reconstruction
from medfm.workflows.drawing_pictures import picked
from medfm.workflows.drawing_scans import (
    blocks,
    chosen_rows,
    finite,
    generator_for,
    latents_of,
    noise_of,
    part_weights,
    prepared,
    read_scan,
    system_facts,
)
from medfm.workflows.reconstruct import plan_of, reconstruct

SMALL = ("method.windows=[3,5]", "statistics.resamples=30")


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return tiny_system(tmp_path_factory.mktemp("system"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def drawn(system, cohort):
    return run_reconstruction(system, cohort, Reconstruction(steps=(2, 3), windows=(3, 5)), batch_size=4)


@pytest.fixture(scope="module")
def visits(system, cohort):
    return run_interpolation(system, cohort, Interpolation(steps=2, windows=(3, 5)), batch_size=2)


@pytest.fixture(scope="module")
def result(system, cohort):
    return reconstruct(system, cohort, overrides=(*SMALL, "method.steps=[2]", "method.limit=6"), name="again")


@pytest.fixture(scope="module")
def between(system, cohort):
    return reconstruct(system, cohort, "ldae-interpolation@1", overrides=(*SMALL, "method.steps=2"), pictures=False)


def test_every_variant_has_every_test_scan_once(drawn, cohort):
    table = drawn.predictions.table
    tested = set(cohort.table.loc[cohort.table["split"] == "test", "record_id"])
    names = {"main", "steps=2", "semantic, steps=2", "semantic, steps=3", "autoencoder", "mean image"}
    assert set(drawn.predictions.variants) == names and drawn.predictions.variants[0] == MAIN
    for _, part in table.groupby("variant"):
        assert set(part["record_id"]) == tested and len(part) == len(tested) == 9
    assert drawn.predictions.classes == ("ssim", "ssim_w5", "psnr", "mse") and not drawn.failures
    assert "window of 3 voxels; ssim_w5: 5" in drawn.notes[-1]


def test_figures_are_those_of_the_system_called_by_hand(drawn, system, cohort):
    row = cohort.record_ids.index("E6")
    batch = system.encoder.preprocess(cohort.read(row))[None]
    true = system.volume(batch)
    expected = {
        "autoencoder": system.compressed(batch),
        "main": system.decode(system.encode(batch, steps=3), steps=3),
        "steps=2": system.decode(system.encode(batch, steps=2), steps=2),
    }
    table = drawn.predictions.table
    for variant, volume in expected.items():
        found = table[(table["variant"] == variant) & (table["record_id"] == "E6")].iloc[0]
        assert found["mse"] == pytest.approx(float(mean_square_error(volume, true)), rel=1e-4)
        assert found["ssim_w5"] == pytest.approx(float(figures(volume, true, (5,))["ssim"][0]), abs=1e-5)


def test_the_floor_is_the_mean_of_the_training_scans(drawn, system, cohort):
    train = [i for i, split in enumerate(cohort.table["split"]) if split == "train"]
    assert len(train) == sum(len(months) for split, months in VISITS.values() if split == "train")
    mean = torch.stack([system.volume(system.encoder.preprocess(cohort.read(i))[None])[0] for i in train]).mean(dim=0)
    true = system.volume(system.encoder.preprocess(cohort.read(cohort.record_ids.index("D0")))[None])
    table = drawn.predictions.table
    found = table[(table["variant"] == "mean image") & (table["record_id"] == "D0")].iloc[0]
    assert found["mse"] == pytest.approx(float(mean_square_error(mean[None], true)), rel=1e-4)


def test_the_size_of_a_batch_changes_nothing(drawn, system, cohort):
    alone = run_reconstruction(
        system, cohort, Reconstruction(steps=(3,), windows=(3, 5), limit=3, mean_image=False), batch_size=1
    ).predictions
    both = drawn.predictions.table
    for variant in ("main", "semantic, steps=3", "autoencoder"):
        part = alone.of_variant(variant).table.set_index("record_id")
        other = both[both["variant"] == variant].set_index("record_id").loc[part.index]
        np.testing.assert_allclose(part["mse"], other["mse"], rtol=1e-3)


def test_noise_belongs_to_the_record_and_the_seed(system, cohort):
    scans = [read_scan(system.encoder, cohort, row) for row in (5, 6)]
    noise = noise_of(system, scans, 0)
    assert torch.equal(noise[1:], noise_of(system, scans[1:], 0)) and not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, noise_of(system, scans, 1))
    assert generator_for(0, "a", "noise").initial_seed() != generator_for(0, "a", "latent").initial_seed()
    drawn = Reconstruction(latents="drawn")
    first = latents_of(system, scans, drawn)
    assert torch.equal(first[1:], latents_of(system, scans[1:], drawn))
    assert not torch.allclose(first, latents_of(system, scans, Reconstruction()))


def test_a_prepared_scan_is_the_preprocessed_one_with_its_place(system, cohort):
    record = cohort.read(3)
    batch, affine = prepared(system.encoder, record)
    assert torch.equal(batch[0], system.encoder.preprocess(record))
    # Padding by one voxel of 2 mm before the first one moves the origin by as much.
    assert affine[0, 3] == record.facts["affine"][0][3] - 2 and affine[0, 0] == 2
    assert read_scan(system.encoder, cohort, 3).sides_known


def test_which_scans_are_drawn(cohort):
    test = [i for i, split in enumerate(cohort.table["split"]) if split == "test"]
    assert chosen_rows(cohort, Reconstruction()) == (test, [])
    rows, said = chosen_rows(cohort, Reconstruction(records="all", limit=4))
    assert rows == [0, 1, 2, 3] and "first 4 of 14" in said[0]
    without = replace(cohort, table=cohort.table.assign(split=None))
    rows, said = chosen_rows(without, Reconstruction())
    assert rows == list(range(14)) and "no split" in said[0]
    with pytest.raises(EvaluationError, match="no test records"):
        chosen_rows(replace(cohort, table=cohort.table.assign(split="train")), Reconstruction())


def test_a_scan_that_cannot_be_read_is_counted(system, cohort):
    broken = replace(cohort, table=cohort.table.assign(path=["nowhere.nii.gz", *cohort.table["path"][1:]]))
    failures: list[Failure] = []
    with Silent("", None) as shown:
        found = [
            scan.record_id for block in blocks(system.encoder, broken, [0, 1, 2], 2, failures, shown) for scan in block
        ]
    assert found == ["A6", "B0"] and [f.record_id for f in failures] == ["A0"]


def test_volumes_that_are_not_finite_stop_the_run(system, cohort):
    scans = [read_scan(system.encoder, cohort, 0)]
    with pytest.raises(EvaluationError, match="not finite") as caught:
        finite(torch.full((1, 1, 2, 2, 2), torch.nan), scans, "both codes")
    assert "A0" in str(caught.value) and "both codes" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "months"),
    [
        ("12", 12),
        (6.5, 6.5),
        ("M06", 6),
        ("ses-M018", 18),
        ("m3", 3),
        ("bl", 0),
        ("ses-bl", 0),
        ("v2", None),
        ("", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_months_of_a_visit(text, months):
    assert months_of(text) == months


def test_visits_of_patients(cohort):
    found, said = visits_of(cohort, list(range(14)), None)
    assert {patient: tuple(own) for patient, own in found.items()} == {
        p: m for p, (_, m) in VISITS.items()
    } and not said
    doubled = replace(cohort, table=cohort.table.assign(session="M06"))
    found, said = visits_of(doubled, list(range(14)), "session")
    assert all(len(own) == 1 for own in found.values()) and said[0].startswith("8 repeated scans")
    with pytest.raises(CohortError, match="no number of months"):
        visits_of(cohort, [0], "path")
    with pytest.raises(CohortError, match="no column 'weeks'"):
        visits_of(cohort, [0], "weeks")
    with pytest.raises(EvaluationError, match="does not name them"):
        visits_of(replace(cohort, patients_known=False), [0], None)


def test_predicted_visits_are_those_of_the_published_rule(visits):
    main = visits.predictions.of_variant(MAIN).table
    expected = missing_scans({p: m for p, (split, m) in VISITS.items() if split == "test"})
    assert len(main) == len(expected) == 5  # four of D, one of E, none of F
    assert sorted(main["share"]) == pytest.approx(sorted(t.share for t in expected))
    assert sorted(main["time_gap"]) == sorted(t.time_gap for t in expected)
    assert "D6 (D0 to D12)" in set(main["record_id"]) and main["record_id"].is_unique
    sizes = visits.predictions.table["variant"].value_counts()
    assert sizes["gap=12"] == 2 and sizes["gap=18"] == 1 and sizes["gap=24"] == 2 and "gap=6" not in sizes
    (note,) = [note for note in visits.notes if "has a gap of 6 months" in note]
    # The same figures by another way: of the triples of the published rule themselves.
    counts = Counter(t.time_gap for t in expected)
    assert "Gaps here (visits): " + ", ".join(f"{gap:g} ({n})" for gap, n in sorted(counts.items())) in note
    assert f"--set method.gaps=[{','.join(f'{gap:g}' for gap in sorted(counts))}]" in note


def test_a_note_on_gaps_without_visits_names_those_that_there_are():
    table = pd.DataFrame({"time_gap": [60.0] * 9 + [120.04], "prediction_gap": [30.0] * 10})
    (note,) = _gaps_without_visits(table, Interpolation(gaps=(6, 60, 24), gap_tolerance=1))
    assert "gap of 6 or 24 months (the time between the two given visits, within 1)" in note
    assert "Gaps here (visits): 60 (9), 120 (1)." in note and note.endswith("method.gaps=[60,120]")
    (note,) = _gaps_without_visits(table, Interpolation(gaps=(60,), gap="nearest"))
    assert "to the nearer visit" in note and note.endswith("[30]")
    assert _gaps_without_visits(table, Interpolation(gaps=(60, 121), gap_tolerance=1)) == [], (
        "within the tolerance of a month"
    )
    many = pd.DataFrame({"time_gap": [float(n) for n in range(30, 60) for _ in range(n)]})
    (note,) = _gaps_without_visits(many, Interpolation(gaps=(6,)))
    assert note.endswith(f"[{','.join(str(n) for n in range(52, 60))}]"), "the most frequent eight, in order"


def test_a_predicted_visit_by_hand(visits, system, cohort):
    row = visits.predictions.of_variant(MAIN).table.set_index("record_id").loc["D6 (D0 to D24)"]
    batches = [
        system.encoder.preprocess(cohort.read(cohort.record_ids.index(name)))[None] for name in ("D0", "D6", "D24")
    ]
    first, target, last = (system.volume(batch) for batch in batches)
    codes = [system.encode(batch, steps=2) for batch in (batches[0], batches[2])]
    volume = system.decode(system.interpolate(codes[0], codes[1], [0.25])[0], steps=2)
    blend = 0.75 * first + 0.25 * last
    decoded = system.compressed(batches[1])
    assert row["scan_mse"] == pytest.approx(float(mean_square_error(volume, target)), rel=1e-3)
    assert row["mse"] == pytest.approx(float(mean_square_error(volume, decoded)), rel=1e-3)
    assert row["scan_blend_mse"] == pytest.approx(float(mean_square_error(blend, target)), rel=1e-3)
    both = 0.75 * system.compressed(batches[0]) + 0.25 * system.compressed(batches[2])
    assert row["blend_decoded_mse"] == pytest.approx(float(mean_square_error(both, decoded)), rel=1e-2, abs=1e-7)
    assert row["scan_gain_mse"] == pytest.approx(row["scan_blend_mse"] - row["scan_mse"], abs=1e-9)
    assert row["gain_ssim"] == pytest.approx(row["ssim"] - row["blend_ssim"], abs=1e-9)


def test_gaps_to_the_nearer_visit_and_within_a_tolerance(system, cohort):
    method = Interpolation(steps=1, windows=(3,), gap="nearest", gaps=(5, 12), gap_tolerance=1)
    found = run_interpolation(system, cohort, method).predictions
    near = found.of_variant("gap=5").table
    assert set(near["prediction_gap"]) == {6} and len(near) == 4
    assert set(found.of_variant("gap=12").table["prediction_gap"]) == {12}


def test_interpolation_needs_three_visits(system, cohort):
    few = cohort.where(lambda table: table["patient_id"] == "F")
    with pytest.raises(EvaluationError, match="No patient"):
        run_interpolation(system, few, Interpolation(steps=1, windows=(3,)))


def test_encoding_in_parts_is_encoding_at_once(system, cohort):
    scans = [read_scan(system.encoder, cohort, row) for row in (5, 6, 7)]
    method = Interpolation(steps=1)
    (a, true, decoded), (b, again, same) = (encoded(system, scans, method, size) for size in (1, 3))
    torch.testing.assert_close(a.stochastic, b.stochastic, atol=1e-3, rtol=1e-3)
    assert torch.equal(true, again) and torch.allclose(decoded, same, atol=1e-4)


def test_the_result_folder_is_whole_and_read_back(result, tmp_path):
    folder = result.save(tmp_path / "out")
    again = medfm.load_result(folder)
    assert again.id == result.id and again.summary == result.summary and again.extras == result.extras
    assert again.thumbnails == result.thumbnails and len(result.thumbnails) == 3
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert render_report(again) == page and "How near are the drawn scans?" in page and "Untrained weights" in page
    assert "image-to-image" in (folder / "card.md").read_text(encoding="utf-8")
    assert {"result.json", "predictions.parquet", "config.yaml", "report.html", "card.md"} == {
        p.name for p in folder.iterdir()
    }
    saved = pd.read_parquet(folder / "predictions.parquet")
    assert {"ssim", "ssim_w5", "psnr", "mse", "age", "site"} <= set(saved.columns)
    assert "windows" in (folder / "config.yaml").read_text(encoding="utf-8")
    compared = medfm.compare(folder, result, resamples=20)
    assert [row.found.difference for row in compared.rows] == [0.0] * 3
    assert json.loads((folder / "result.json").read_text())["kind"] == "reconstruction"


def test_the_gain_over_the_mean_image_is_a_paired_difference(result):
    means = {v: result.predictions.of_variant(v).table["mse"].mean() for v in (MAIN, "mean image")}
    over = result.extras["over_mean_image"]
    assert over["value"] == pytest.approx(means["mean image"] - means[MAIN]) and over["high"] < 0
    assert "farther from the truth than the mean training image" in str(result)


def test_the_pictures_are_of_the_best_the_middle_and_the_worst(result):
    main = result.predictions.of_variant(MAIN).table.sort_values("ssim", ascending=False)
    roles = {entry["role"]: entry for entry in result.extras["drawn"]}
    assert roles["best"]["record_id"] == main["record_id"].iloc[0] and roles["worst"]["ssim"] == main["ssim"].min()
    assert set(result.thumbnails) == {entry["record_id"] for entry in roles.values()}
    assert all(data.startswith(b"<svg") for data in result.thumbnails.values())


def test_one_record_is_the_best_only():
    rows = pd.DataFrame({"record_id": ["a"], "ssim": [0.5]})
    assert [role for role, _ in picked(rows, "ssim")] == ["best"]
    rows = pd.DataFrame({"record_id": list("abcd"), "ssim": [0.1, 0.4, 0.3, 0.2]})
    assert [(role, row["record_id"]) for role, row in picked(rows, "ssim")] == [
        ("best", "b"),
        ("median", "c"),
        ("worst", "a"),
    ]


def test_interpolation_as_a_result(between):
    assert between.kind == "interpolation" and between.summary.n_records == 5 and between.summary.n_patients == 2
    assert [e.metric for e in between.summary.headline][:3] == ["scan_ssim", "scan_mse", "scan_gain_ssim"]
    gain = between.summary.estimate("scan_gain_mse")
    table = between.predictions.of_variant(MAIN).table
    assert gain.value == pytest.approx((table["scan_blend_mse"] - table["scan_mse"]).mean())
    assert between.summary.estimate("mse", "gap=24").n_records == 2
    assert "linear blending" in str(between) and not between.thumbnails


def test_distances_of_features(system, cohort):
    scans = [read_scan(system.encoder, cohort, row) for row in range(6)]
    true = torch.cat([system.volume(scan.batch) for scan in scans])
    judge = Features(system.encoder)
    judge.add("real", scans, true)
    judge.add("same", scans, true)
    judge.add("other", scans, 1 - true)
    judge.add("empty", scans[:3], torch.zeros_like(true[:3]))
    found = judge.distances(StatisticsPlan(resamples=10), own=True)
    rows = {row["variant"]: row for row in found["rows"]}
    assert found["records"] == 6 and found["own"] and found["dim"] == 32 and "empty" not in rows
    assert judge.left_out == {"empty": 3}
    assert rows["same"]["frechet"]["value"] == pytest.approx(0, abs=1e-4)
    assert rows["other"]["frechet"]["value"] > 10 * rows["same"]["frechet"]["value"] + 1e-4
    assert rows["other"]["mmd2"]["value"] > rows["same"]["mmd2"]["value"]
    few = Features(system.encoder)
    few.add("real", scans[:2], true[:2])
    assert "too few" in few.distances(StatisticsPlan(), own=True)["why_not"]


def test_what_cannot_be_asked_for(system, cohort):
    for protocol, match in (("linear-probe@1", "draws nothing"), ("ldae-reconstruction@2", "no protocol")):
        with pytest.raises(medfm.MedfmError, match=match):
            plan_of(protocol)
    with pytest.raises(ConfigError, match="window of 11 voxels does not fit"):
        reconstruct(system, cohort)
    with pytest.raises(ConfigError, match="batch of 0"):
        reconstruct(system, cohort, overrides=SMALL, batch_size=0)
    with pytest.raises(ConfigError, match="modality 'retina'"):
        reconstruct(system, replace(cohort, modality="retina"), overrides=SMALL)
    torn = cohort.table.assign(patient_id="one")
    with pytest.raises(ChecksFailedError):
        reconstruct(system, replace(cohort, table=torn), overrides=SMALL)


def test_weights_part_by_part(system, tmp_path):
    card = system.encoder.card
    assert part_weights(card, []) == {}
    assert part_weights(card, ["random"]) == dict.fromkeys(("encoder", "autoencoder", "denoiser"), "random")
    for name in ("a.pth", "encoder.pth", "decoder.pth"):
        (tmp_path / name).write_bytes(b"x")
    one = f"{tmp_path / 'a.pth'}"
    assert part_weights(card, [f"encoder={one}", "denoiser=random"]) == {"encoder": one, "denoiser": "random"}
    for missing in ("encoder=b.pth", "b.pth"):
        with pytest.raises(WeightsError, match="checkpoint file does not exist") as caught:
            part_weights(card, [missing])
        assert caught.value.where == "b.pth" and "medfm doctor" in str(caught.value.fix)
    found = {"encoder": tmp_path / "encoder.pth", "denoiser": tmp_path / "decoder.pth"}
    assert part_weights(card, [tmp_path]) == found == part_weights(card, [tmp_path / "encoder.pth"])
    with pytest.raises(ConfigError, match="no part 'decoder'"):
        part_weights(card, ["decoder=a.pth"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=f"No weights of '{card.id}'") as refused:
        part_weights(card, [empty])
    assert "--weights denoiser=FILE" in str(refused.value.fix)
    (empty / "card.md").touch()
    with pytest.raises(ConfigError) as refused:
        part_weights(card, [empty])
    assert "as --encoder" in str(refused.value.fix), "a folder of one's own training"


def test_facts_of_the_system_cover_all_three_networks(system, tmp_path):
    facts = system_facts(system)
    assert facts["weights_kind"] == "random" and facts["weights_note"].count("random") == 3
    with torch.no_grad():
        parameter = next(system.denoiser.parameters())
        before = parameter.clone()
        parameter.add_(1)
        changed = system_facts(system)["fingerprint"]
        parameter.copy_(before)
    assert changed != facts["fingerprint"] == system_facts(system)["fingerprint"]


def test_the_protocol_is_kept_in_the_result(result):
    assert result.protocol.id == "ldae-reconstruction@1" and result.protocol.method.steps == (2,)
    assert load_protocol("ldae-reconstruction@1").method.steps != (2,)
    assert result.name == "again" and result.provenance["failures"] == []
