"""Shared-class maps and the mean AUROC over shared classes, against naive loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from medfm.core.errors import ConfigError, EvaluationError, UnknownNameError
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.evaluation.transfer import (
    TransferMap,
    list_transfer_maps,
    load_transfer_map,
    shared_mean,
    transfer_folder,
)
from medfm.knowledge.load import load_knowledge

PLAN = StatisticsPlan(resamples=60)


def labelled(classes: tuple[str, ...], n: int = 150, per: int = 3, seed: int = 0) -> Predictions:
    """Multilabel predictions, `per` records of each patient."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, len(classes))) < 0.3).astype(float)
    skill = np.linspace(0, 2, len(classes))
    scores = 1 / (1 + np.exp(-(skill * truth + rng.standard_normal(truth.shape))))
    table = {
        "record_id": [f"r{i}" for i in range(n)],
        "patient_id": [f"p{i // per}" for i in range(n)],
        "site": None,
        "variant": "main",
        "repeat": 0,
        "fold": 0,
    }
    table |= {f"truth:{c}": truth[:, i] for i, c in enumerate(classes)}
    table |= {f"score:{c}": scores[:, i] for i, c in enumerate(classes)}
    return Predictions(pd.DataFrame(table), "multilabel", classes, "+".join(classes))


def naive(predictions: Predictions, classes: tuple[str, ...], rows: np.ndarray) -> float:
    values = []
    for c in classes:
        truth = predictions.table[f"truth:{c}"].to_numpy()[rows]
        if 0 < truth.sum() < len(truth):
            values.append(roc_auc_score(truth, predictions.table[f"score:{c}"].to_numpy()[rows]))
    return float(np.mean(values))


def test_the_mean_equals_a_plain_loop():
    found = labelled(("a", "b", "c", "d"))
    made = shared_mean(found, ("b", "d"), PLAN)
    assert made.estimate.value == pytest.approx(naive(found, ("b", "d"), np.arange(150)), abs=1e-9)
    assert [name for name, _ in made.classes] == ["b", "d"] and made.absent == ()
    assert np.mean([v for _, v in made.classes]) == pytest.approx(made.estimate.value)


def test_the_interval_resamples_whole_patients():
    found = labelled(("a", "b", "c"))
    plan = StatisticsPlan(resamples=400, seed=1)
    made = shared_mean(found, ("a", "c"), plan).estimate
    rng = np.random.default_rng(7)
    drawn = []
    for _ in range(400):
        patients = rng.integers(0, 50, 50)
        drawn.append(naive(found, ("a", "c"), (patients[:, None] * 3 + np.arange(3)).ravel()))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert made.low == pytest.approx(low, abs=0.015) and made.high == pytest.approx(high, abs=0.015)
    assert "patient-clustered" in made.method
    assert "record-level" in shared_mean(found, ("a",), plan, patients_known=False).estimate.method


def test_all_classes_give_the_ordinary_figure_and_interval():
    found = labelled(("a", "b", "c"))
    ordinary = summarise(found, PLAN).estimate("auroc_macro")
    ours = shared_mean(found, ("a", "b", "c"), PLAN).estimate
    assert (ours.value, ours.low, ours.high) == pytest.approx((ordinary.value, ordinary.low, ordinary.high))


def test_classes_without_a_positive_record_are_left_out():
    found = labelled(("a", "b", "c"))
    found.table["truth:b"] = 0.0
    made = shared_mean(found, ("a", "b"), PLAN)
    assert made.classes[1] == ("b", None)
    assert made.estimate.value == pytest.approx(naive(found, ("a",), np.arange(150)))
    undefined = shared_mean(found, ("b",), PLAN).estimate
    assert undefined.value is None and undefined.low is None


def test_absent_classes_are_named_and_none_at_all_is_refused():
    found = labelled(("a", "b"))
    assert shared_mean(found, ("b", "x"), PLAN).absent == ("x",)
    with pytest.raises(EvaluationError, match="none of the shared classes"):
        shared_mean(found, ("x", "y"), PLAN)
    binary = Predictions(found.table.assign(truth="b", predicted="b"), "binary", ("a", "b"))
    with pytest.raises(EvaluationError, match="binary task"):
        shared_mean(binary, ("a",), PLAN)


# The sheet's table, read in both directions.
SHARED = {
    ("ptbxl-super", "cpsc2018"): "NORM 1AVB CRBBB STE CLBBB STD",
    ("ptbxl-super", "csn"): "SR 2AVB STTC STE TWO STTU 2AVB1 AVB QTIE LBBB RBBB 1AVB STDD MI TWC RVH LVH",
    ("cpsc2018", "csn"): "SR STTC STE VPB STTU APB LBBB RBBB 1AVB STDD AFIB",
    ("cpsc2018", "ptbxl-super"): "NORM CD STTC",
    ("csn", "ptbxl-super"): "HYP NORM MI CD STTC",
    ("csn", "cpsc2018"): "AFIB VPC NORM 1AVB CRBBB STE PAC CLBBB STD",
}


@pytest.mark.parametrize("pair", SHARED)
def test_the_published_map(pair):
    assert load_transfer_map("merl@1").shared(*pair) == tuple(SHARED[pair].split())


def test_the_corrected_map_drops_what_does_not_mean_the_same():
    ours, theirs = load_transfer_map("merl-corrected@1"), load_transfer_map("merl@1")
    assert ours.domains == theirs.domains
    assert "SR" in theirs.shared("ptbxl-super", "csn") and "SR" not in ours.shared("ptbxl-super", "csn")
    assert "NORM" not in ours.shared("csn", "ptbxl-super")
    lists = {p.target: p.shared for p in ours.pairs if p.source == "ptbxl-super"}
    assert "STDD" in lists["csn"]["STTC"] and "STDD" not in lists["csn"]["CD"]
    (cpsc,) = [p.shared for p in ours.pairs if p.source == "cpsc2018"]
    assert cpsc["STE"] == ("STTU",) and cpsc["STD"] == ("STDD",)


@pytest.mark.parametrize("name", ["merl@1", "merl-corrected@1"])
def test_classes_are_those_of_the_knowledge(name):
    sets = load_knowledge("ecg").label_sets
    for domain, about in load_transfer_map(name).domains.items():
        assert about.classes == tuple(sets[domain].labels)


def test_the_corrected_map_agrees_with_the_meanings_in_the_knowledge():
    """A class of CPSC2018 and its partner in CSN name the same entry, or one that lies above the other."""
    knowledge = load_knowledge("ecg")
    parents = {entry.id: entry.parent for entry in knowledge.classes}
    cpsc, csn = (dict(knowledge.label_sets[s].labels) for s in ("cpsc2018", "csn"))

    def above(entry: str | None) -> set[str]:
        found = set()
        while entry:
            found.add(entry)
            entry = parents.get(entry)
        return found

    (shared,) = [p.shared for p in load_transfer_map("merl-corrected@1").pairs if p.source == "cpsc2018"]
    for ours, partners in shared.items():
        for theirs in partners:
            a, b = cpsc[ours], csn[theirs]
            assert a in above(b) or b in above(a), (ours, theirs)


@pytest.mark.parametrize(
    ("cohort", "classes", "domain"),
    [
        ("cpsc2018@published", ("AFIB", "STD"), "cpsc2018"),
        ("icbeb", ("AFIB",), "cpsc2018"),
        ("ptbxl-super", ("NORM", "MI"), "ptbxl-super"),
        ("my own", ("STTC", "CD", "MI", "NORM", "HYP"), "ptbxl-super"),
        ("my own", ("NORM", "MI"), None),
        ("csn", ("cat", "dog"), None),
    ],
)
def test_the_domain_of_a_result(cohort, classes, domain):
    assert load_transfer_map("merl@1").domain_of(cohort, classes) == domain


def test_every_shipped_map_is_listed_loads_and_cites():
    assert list_transfer_maps() == ["merl-corrected@1", "merl@1"]
    for name in list_transfer_maps():
        found = load_transfer_map(name)
        assert found.id == name and found.source and found.notes and found.reviewed_by == "none"
    with pytest.raises(UnknownNameError, match="merl@1"):
        load_transfer_map("merl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["pairs"][0]["shared"].update(NORM=["nothing"]), "no class 'nothing'"),
        (lambda v: v["pairs"][0]["shared"].update(XX=[]), "no class 'XX'"),
        (lambda v: v["pairs"][0].update(target="elsewhere"), "not among the domains"),
        (lambda v: v["pairs"].append({"source": "csn", "target": "cpsc2018", "shared": {}}), "twice"),
        (lambda v: v.update(sourcing="rumour"), "sourcing"),
        (lambda v: v.update(colour="red"), "colour"),
    ],
)
def test_broken_maps_are_refused(change, message, tmp_path):
    values = yaml.safe_load((transfer_folder() / "merl@1.yaml").read_text())
    change(values)
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=message):
        load_transfer_map(tmp_path / "map.yaml")


def test_an_unlisted_pair_shares_nothing():
    found = load_transfer_map("merl@1")
    part = TransferMap(**{**found.to_dict(), "pairs": found.to_dict()["pairs"][:1]})
    assert part.shared("csn", "cpsc2018") == ()
