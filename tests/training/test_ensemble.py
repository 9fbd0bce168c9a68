"""Several classifiers in one folder: averaged scores, the threshold, the gate, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medfm.core.errors import WeightsError
from medfm.encoders.card import read_card
from medfm.encoders.load import load_encoder
from medfm.encoders.registry import get_card
from medfm.encoders.save import ENSEMBLE_FILE, refuse_ensemble, save_ensemble_card
from medfm.evaluation.unusual import fit_gate
from medfm.training.ensemble import (
    Ensemble,
    EnsembleGate,
    ensemble_folder,
    load_ensemble,
    load_ensemble_gate,
    save_ensemble,
)
from medfm.training.finetune_labels import Labels
from medfm.training.gate_file import save_gate
from medfm.training.tuned import TunedClassifier, load_classifier, model_folder, save_classifier

BINARY = Labels("binary", "binary", ("no", "yes"), "sick")
RNG = np.random.default_rng(0)
ROWS = [RNG.normal(size=(9, 3)), RNG.normal(size=(9, 3))]


def member(seed: int, labels: Labels = BINARY) -> TunedClassifier:
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(labels.outputs, 3, generator=source)
    return TunedClassifier(labels, weight, torch.randn(labels.outputs, generator=source), 0.5, "x", {"synthetic": True})


def written(place: Path, members: tuple[TunedClassifier, ...] | None = None, **changes: Any) -> Ensemble:
    members = members or (member(0), member(1))
    for number, one in enumerate(members, 1):
        (place / "members" / str(number)).mkdir(parents=True)
        save_classifier(place / "members" / str(number), one, f"f{number}")
    given: dict[str, Any] = {
        "average": "probabilities",
        "threshold": 0.3,
        "rule": "chosen",
        "about": {"synthetic": True},
    }
    whole = Ensemble(members, **{**given, **changes})
    save_ensemble(place, whole)
    return whole


def test_what_is_saved_comes_back_and_scores_are_the_mean(tmp_path: Path) -> None:
    whole = written(tmp_path)
    found = load_ensemble(tmp_path)
    own = [m.scores(v) for m, v in zip(whole.members, ROWS, strict=True)]
    assert found.scores(ROWS) == pytest.approx((own[0] + own[1]) / 2)
    assert found.threshold == 0.3 and found.rule == "chosen" and found.labels == BINARY and found.about["synthetic"]
    assert [m.folder for m in found.members] == [tmp_path / "members" / "1", tmp_path / "members" / "2"]


def test_the_ensembles_own_threshold_decides(tmp_path: Path) -> None:
    found = load_ensemble(written(tmp_path) and tmp_path)
    scores = np.column_stack([[0.75, 0.65, 0.1], [0.25, 0.35, 0.9]])
    assert found.decide(scores).tolist() == [0, 1, 1]


def test_logits_are_averaged_when_asked(tmp_path: Path) -> None:
    written(tmp_path, average="logits")
    found = load_ensemble(tmp_path)
    raw = [v @ m.weight.double().numpy().T + m.bias.double().numpy() for m, v in zip(found.members, ROWS, strict=True)]
    assert found.scores(ROWS)[:, 1] == pytest.approx(1 / (1 + np.exp(-(raw[0] + raw[1])[:, 0] / 2)))


def test_measurements_in_other_scales_are_averaged_in_their_unit(tmp_path: Path) -> None:
    members = tuple(member(i, Labels("regression", "regression", (), "age", 50.0 + i, 10.0 * (i + 1))) for i in (0, 1))
    written(tmp_path, members)
    expected = np.mean([m.scores(v) for m, v in zip(members, ROWS, strict=True)], axis=0)
    found = load_ensemble(tmp_path)
    assert found.scores(ROWS) == pytest.approx(expected) and found.decide(expected) == pytest.approx(expected[:, 0])


def test_it_is_found_in_the_result_folder_too(tmp_path: Path) -> None:
    written(tmp_path / "model")
    assert ensemble_folder(tmp_path) == tmp_path / "model" == ensemble_folder(tmp_path / "model")
    assert ensemble_folder(tmp_path / "model" / "members" / "1") is None
    assert len(load_ensemble(tmp_path).members) == 2


def test_it_is_not_one_classifier_and_the_message_says_what_to_do(tmp_path: Path) -> None:
    written(tmp_path / "model")
    for call in (load_classifier, model_folder):
        with pytest.raises(WeightsError, match="ensemble of several classifiers") as found:
            call(tmp_path)
        assert "medfm predict" in str(found.value.fix) and "members" in str(found.value.fix)


def _other_member(place: Path) -> None:
    save_classifier(place / "members" / "2", member(7), "f2")


def _change(**values: Any) -> Any:
    def act(place: Path) -> None:
        about = json.loads((place / ENSEMBLE_FILE).read_text())
        (place / ENSEMBLE_FILE).write_text(json.dumps({**about, **values}))

    return act


@pytest.mark.parametrize(
    "damage",
    [
        _other_member,
        lambda place: (place / "members" / "1" / "classifier.json").unlink(),
        lambda place: (place / ENSEMBLE_FILE).write_text("{"),
        _change(format="medfm-ensemble-9"),
        _change(members=[]),
        _change(average="median"),
        _change(threshold=None),
        _change(unusual={"known": ["far"], "alarm_rate": 0.05}),
    ],
    ids=["other member", "gone", "no json", "format", "nobody", "average", "threshold", "gate"],
)
def test_damage_is_named(tmp_path: Path, damage: Any) -> None:
    written(tmp_path)
    damage(tmp_path)
    with pytest.raises(WeightsError, match="damaged"):
        load_ensemble(tmp_path)


def test_members_that_predict_different_things_do_not_load(tmp_path: Path) -> None:
    written(tmp_path, (member(0), member(1, Labels("binary", "binary", ("no", "maybe"), "sick"))))
    with pytest.raises(WeightsError, match="do not fit each other"):
        load_ensemble(tmp_path)


def test_a_folder_without_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no ensemble here"):
        load_ensemble(tmp_path)


def gates() -> tuple[EnsembleGate, list[np.ndarray]]:
    rng = np.random.default_rng(1)
    held = [rng.normal(size=(40, 3)) * scale for scale in (1.0, 5.0)]
    fitted = tuple(fit_gate(rng.normal(size=(60, 3)) * scale, v) for scale, v in zip((1.0, 5.0), held, strict=True))
    known = np.sort(np.mean([g.distances(v) for g, v in zip(fitted, held, strict=True)], axis=0))
    return EnsembleGate(fitted, known, 0.05), held


def test_the_gate_calls_at_most_its_share_of_validation_records_unusual() -> None:
    gate, held = gates()
    assert gate.unusual(held).mean() <= 0.05 and gate.percentiles(held).max() == 100
    assert sorted(gate.percentiles(held)) == pytest.approx(np.arange(1, 41) * 2.5)
    far = [v + 50 * scale for v, scale in zip(held, (1.0, 5.0), strict=True)]
    assert gate.unusual(far).all() and (gate.percentiles(far) == 100).all()


def test_the_distance_is_the_mean_over_members() -> None:
    gate, held = gates()
    own = [g.distances(v) for g, v in zip(gate.gates, held, strict=True)]
    assert gate.distances(held) == pytest.approx((own[0] + own[1]) / 2)


def test_the_gate_is_kept_with_the_members(tmp_path: Path) -> None:
    gate, held = gates()
    written(tmp_path, known=gate.known)
    for number, one in enumerate(gate.gates, 1):
        save_gate(tmp_path / "members" / str(number), one, f"f{number}")
    found = load_ensemble_gate(load_ensemble(tmp_path), ["f1", "f2"])
    assert found is not None and found.threshold == gate.threshold
    assert found.distances(held) == pytest.approx(gate.distances(held))
    with pytest.raises(WeightsError, match="another encoder"):
        load_ensemble_gate(load_ensemble(tmp_path), ["f1", "f3"])
    (tmp_path / "members" / "2" / "unusual.json").unlink()
    with pytest.raises(WeightsError, match="gate of a member is missing"):
        load_ensemble_gate(load_ensemble(tmp_path), ["f1", "f2"])


def test_without_known_distances_there_is_no_gate(tmp_path: Path) -> None:
    written(tmp_path)
    assert load_ensemble_gate(load_ensemble(tmp_path), ["f1", "f2"]) is None


def test_its_card_is_read_and_the_whole_is_no_encoder(tmp_path: Path) -> None:
    written(tmp_path)
    base = get_card("merl-tiny")
    given = {"encoder_id": "mine", "title": "Mine", "summary": "Two networks.", "prose": "# mine\n"}
    card = save_ensemble_card(tmp_path, base, 2, **given)  # type: ignore[arg-type]
    assert read_card(tmp_path / "card.md").id == "mine" == card.id and card.modality == base.modality
    assert not card.spec.results and "2 networks" in card.spec.weights.sources[0].layout
    for call in (
        lambda: refuse_ensemble(card),
        lambda: load_encoder(tmp_path),
        lambda: load_encoder(tmp_path, "random"),
    ):
        with pytest.raises(WeightsError, match="no embedding in common") as found:
            call()
        assert str(tmp_path / "members" / "1") in str(found.value.fix)


def test_other_cards_pass() -> None:
    refuse_ensemble(get_card("merl-tiny"))
