"""Whole evaluations against plain scikit-learn pipelines written out here, on small cohorts."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from probe_data import cohort_of, table_of
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.knn import knn_scores
from medfm.evaluation.paper import paper_average
from medfm.evaluation.protocol import KNN, LinearProbe, Protocol, Scheme, Selection, load_protocol
from medfm.evaluation.ridge import fit_ridge
from medfm.evaluation.schemes import make_folds
from medfm.evaluation.summarise import summarise
from medfm.evaluation.target import Target

GRID = (0.001, 0.01, 0.1, 1.0, 10.0)


def protocol_of(method, scheme: Scheme | None = None, **more) -> Protocol:
    return Protocol(id="test@1", title="t", method=method, scheme=scheme or Scheme(kind="split"), **more)


def exact(**options) -> LogisticRegression:
    return LogisticRegression(max_iter=20_000, tol=1e-9, **options)


def run(table: pd.DataFrame, X: np.ndarray, protocol: Protocol, target="label", **options):
    about = {"encoder": "test-encoder", "fingerprint": "f" * 64, "weights_kind": "random"}
    embeddings = Embeddings(X, tuple(table["record_id"]), about)
    return evaluate(embeddings, cohort_of(table), target, protocol, **options)


def scores_of(found, table: pd.DataFrame, rows: np.ndarray, variant: str = "main") -> np.ndarray:
    """The stored scores of `rows` of the table, one prediction each."""
    predictions = found.predictions.of_variant(variant)
    indexed = predictions.table.set_index("record_id")
    columns = [f"score:{c}" for c in predictions.classes]
    return indexed.loc[table["record_id"].iloc[rows], columns].to_numpy(dtype=float)


def splits(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    split = table["split"].to_numpy()
    return np.flatnonzero(split == "train"), np.flatnonzero(split == "test")


@pytest.mark.parametrize("balanced", ["none", "balanced"])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("standardise", [True, False])
def test_softmax_and_binary_on_a_split(classes: int, standardise: bool, balanced: str) -> None:
    table, X = table_of(classes=classes, signal=1.0, seed=classes)
    table = table.drop(index=range(1, 60, 4)).reset_index(drop=True)  # unequal classes
    X = np.delete(X, np.arange(1, 60, 4), axis=0)
    method = LinearProbe(selection=Selection(rule="fixed", value=0.3), class_weight=balanced, standardise=standardise)
    found = run(table, X, protocol_of(method))
    train, test = splits(table)
    model = exact(C=0.3, class_weight=None if balanced == "none" else "balanced")
    model = make_pipeline(StandardScaler(), model) if standardise else model
    model.fit(X[train].astype(float), table["label"].iloc[train])
    expected = model.predict_proba(X[test].astype(float))
    assert found.predictions.classes == tuple(model.classes_)
    np.testing.assert_allclose(scores_of(found, table, test), expected, atol=2e-4)
    by_id = found.predictions.table.set_index("record_id")["predicted"]
    ours = by_id.loc[table["record_id"].iloc[test]].to_numpy()
    clear = np.ptp(np.sort(expected, axis=1)[:, -2:], axis=1) > 1e-3
    np.testing.assert_array_equal(ours[clear], model.classes_[expected.argmax(axis=1)][clear])


@pytest.mark.parametrize("balanced", ["none", "balanced"])
@pytest.mark.parametrize("solver", ["batched", "sklearn"])
def test_one_vs_rest_is_scikit_learns_meta_estimator(balanced: str, solver: str) -> None:
    table, X = table_of(signal=1.0)
    method = LinearProbe(
        selection=Selection(rule="fixed", value=0.5),
        multi_class="one_vs_rest",
        class_weight=balanced,
        solver=solver,
        max_iter=20_000,
        tol=1e-9,
    )
    found = run(table, X, protocol_of(method))
    train, test = splits(table)
    base = exact(C=0.5, class_weight=None if balanced == "none" else "balanced")
    model = make_pipeline(StandardScaler(), OneVsRestClassifier(base)).fit(
        X[train].astype(float), table["label"][train]
    )
    np.testing.assert_allclose(
        scores_of(found, table, test), model.predict_proba(X[test].astype(float)), atol=1e-4, rtol=0
    )


def test_labels_with_gaps_are_separate_models_on_the_known_rows() -> None:
    table, X = table_of(n=240, signal=1.0)
    rng = np.random.default_rng(0)
    for name in ("grainy", "pale"):
        table.loc[rng.random(len(table)) < 0.25, name] = np.nan
    table.loc[table["grainy"].isna() & table["pale"].isna(), "grainy"] = 0.0
    method = LinearProbe(selection=Selection(rule="fixed", value=0.3), class_weight="balanced")
    found = run(table, X, protocol_of(method), ["grainy", "pale"])
    train, test = splits(table)
    scaler = StandardScaler().fit(X[train].astype(float))  # all training rows, whatever is known of them
    for column, name in enumerate(("grainy", "pale")):
        known = train[table[name].iloc[train].notna()]
        model = exact(C=0.3, class_weight="balanced").fit(scaler.transform(X[known].astype(float)), table[name][known])
        expected = model.predict_proba(scaler.transform(X[test].astype(float)))[:, 1]
        np.testing.assert_allclose(scores_of(found, table, test)[:, column], expected, atol=2e-4)


@pytest.mark.parametrize("metric", ["log_loss", "balanced_accuracy"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_inner_selection_is_that_of_a_grouped_grid_search(seed: int, classes: int, metric: str) -> None:
    """The C of an independent loop over scikit-learn fits, and the final model at that C."""
    table, X = table_of(n=180, classes=classes, signal=0.7, seed=seed)
    selection = Selection(rule="inner_cv", grid=GRID, folds=4, metric=metric)
    found = run(table, X, protocol_of(LinearProbe(selection=selection), Scheme(kind="split", seed=seed)))
    train, test = splits(table)
    z = StandardScaler().fit(X[train].astype(float))
    inside, y = z.transform(X[train].astype(float)), table["label"].to_numpy()[train]
    groups = np.unique(table["patient_id"].to_numpy()[train].astype(str), return_inverse=True)[1]
    positions = np.unique(y, return_inverse=True)[1]
    parts = list(StratifiedGroupKFold(4, shuffle=True, random_state=seed).split(inside, positions, groups))
    means = []
    for C in GRID:
        values = []
        for a, b in parts:
            model = exact(C=C).fit(inside[a], y[a])
            if metric == "log_loss":
                values.append(-log_loss(y[b], model.predict_proba(inside[b]), labels=model.classes_))
            else:
                values.append(balanced_accuracy_score(y[b], model.predict(inside[b])))
        means.append(np.mean(values))
    best = GRID[int(np.argmax(means))]
    assert found.chosen[0]["C"] == best
    final = exact(C=best).fit(inside, y)
    np.testing.assert_allclose(
        scores_of(found, table, test), final.predict_proba(z.transform(X[test].astype(float))), atol=3e-4
    )


def test_the_validation_split_chooses_like_a_plain_loop() -> None:
    table, X = table_of(n=200, signal=0.6, seed=3)
    patient = table["patient_id"].str[1:].astype(int)
    table["split"] = np.where(patient % 5 == 0, "test", np.where(patient % 5 == 1, "val", "train"))
    method = LinearProbe(selection=Selection(rule="validation", grid=GRID))
    found = run(table, X, protocol_of(method))
    train, test = splits(table)
    held = np.flatnonzero(table["split"] == "val")
    losses, models = [], []
    for C in GRID:
        model = make_pipeline(StandardScaler(), exact(C=C)).fit(X[train].astype(float), table["label"][train])
        models.append(model)
        losses.append(log_loss(table["label"][held], model.predict_proba(X[held].astype(float))))
    pick = int(np.argmin(losses))
    assert found.chosen[0]["C"] == GRID[pick]
    np.testing.assert_allclose(
        scores_of(found, table, test), models[pick].predict_proba(X[test].astype(float)), atol=2e-4
    )


def test_repeats_are_scikit_learns_folds_with_consecutive_seeds() -> None:
    table, X = table_of(n=120, signal=1.0)
    scheme = Scheme(kind="kfold", folds=3, repeats=2, seed=7)
    method = LinearProbe(selection=Selection(rule="fixed", value=0.1))
    found = run(table, X, protocol_of(method, scheme)).predictions.table
    groups = np.unique(table["patient_id"].astype(str), return_inverse=True)[1]
    y = np.unique(table["label"], return_inverse=True)[1]
    for repeat in range(2):
        parts = StratifiedGroupKFold(3, shuffle=True, random_state=7 + repeat).split(X, y, groups)
        for fold, (train, test) in enumerate(parts):
            rows = found[(found["repeat"] == repeat) & (found["fold"] == fold)]
            assert rows["record_id"].tolist() == table["record_id"].iloc[test].tolist()
            model = make_pipeline(StandardScaler(), exact(C=0.1)).fit(X[train].astype(float), table["label"][train])
            ours = rows[[f"score:{c}" for c in "abcd"]].to_numpy(dtype=float)
            np.testing.assert_allclose(ours, model.predict_proba(X[test].astype(float)), atol=2e-4)


def test_a_fraction_trains_on_its_own_patients_only() -> None:
    """The records outside the drawn fraction may be anything, and the model is scikit-learn's on the rest."""
    table, X = table_of(n=200, signal=1.0)
    method = LinearProbe(selection=Selection(rule="fixed", value=0.2))
    plan = protocol_of(method, fractions=(0.25, 1.0), fraction_repeats=2)
    found = run(table, X, plan)
    rows = {(c["variant"], c["repeat"]): c["train"] for c in found.chosen}
    train, test = splits(table)
    assert rows[("main", 0)] == len(train)
    small = [v for (variant, _), v in rows.items() if variant == "fraction=0.25"]
    assert len(small) == 2
    assert all(0.2 * len(train) <= n <= 0.4 * len(train) for n in small)
    alone = run(table, X, protocol_of(method, fractions=(1.0,)))
    np.testing.assert_array_equal(scores_of(found, table, test), scores_of(alone, table, test))


@pytest.mark.parametrize("name", ["dinobloom-linear@1", "reddino-linear@1"])
def test_the_papers_procedure_by_hand(name: str) -> None:
    """Unshuffled stratified folds, raw features, C = D K / 100, mean and deviation over the folds."""
    table, X = table_of(n=150, cells=3, classes=3, signal=0.8)
    table["split"] = None
    protocol = load_protocol(name)
    found = run(table, X, protocol)
    averaged = paper_average(summarise(found.predictions, protocol.statistics, metrics=protocol.metrics), protocol)
    y = table["label"].to_numpy()
    figures: dict[str, list[float]] = {"accuracy": [], "balanced_accuracy": [], "f1_weighted": []}
    for train, test in StratifiedKFold(5).split(X, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=X.shape[1] * 3 / 100, max_iter=1000)
            predicted = model.fit(X[train].astype(float), y[train]).predict(X[test].astype(float))
        figures["accuracy"].append(accuracy_score(y[test], predicted))
        figures["balanced_accuracy"].append(balanced_accuracy_score(y[test], predicted))
        figures["f1_weighted"].append(f1_score(y[test], predicted, average="weighted"))
    for metric, values in figures.items():
        ours = averaged["main"][metric]
        assert ours["n"] == 5
        assert ours["mean"] == pytest.approx(np.mean(values), abs=1e-12)
        assert ours["std"] == pytest.approx(np.std(values, ddof=int(name.startswith("reddino"))), abs=1e-12)


def test_ridge_selection_and_prediction_equal_scikit_learn() -> None:
    """alpha = 1 / C; the choice over grouped inner folds is that of a plain loop over Ridge."""
    table, X = table_of(n=160, signal=1.0)
    grid = (0.0001, 0.01, 1.0, 100.0)
    method = LinearProbe(selection=Selection(rule="inner_cv", grid=grid, folds=4, metric="r2"))
    found = run(table, X, protocol_of(method), "age")
    train, test = splits(table)
    z = StandardScaler().fit(X[train].astype(float))
    inside, y = z.transform(X[train].astype(float)), table["age"].to_numpy()[train]
    groups = np.unique(table["patient_id"].to_numpy()[train].astype(str), return_inverse=True)[1]
    strata = np.searchsorted(np.quantile(y, [0.25, 0.5, 0.75]), y, side="right")
    parts = list(StratifiedGroupKFold(4, shuffle=True, random_state=0).split(inside, strata, groups))
    means = [np.mean([Ridge(alpha=1 / C).fit(inside[a], y[a]).score(inside[b], y[b]) for a, b in parts]) for C in grid]
    best = grid[int(np.argmax(means))]
    assert found.chosen[0]["C"] == best
    expected = Ridge(alpha=1 / best).fit(inside, y).predict(z.transform(X[test].astype(float)))
    by_id = found.predictions.table.set_index("record_id")["predicted"]
    np.testing.assert_allclose(by_id.loc[table["record_id"].iloc[test]].to_numpy(float), expected, rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(60, 8), (30, 50), (25, 24)])
def test_leave_one_out_errors_are_those_of_ridge_cv(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, d)) + 4
    y = X[:, 0] * 2 + rng.standard_normal(n)
    alphas = np.array([0.1, 1.0, 10.0, 100.0])
    path = fit_ridge(X, y, 1 / alphas)
    reference = RidgeCV(alphas=alphas, store_cv_results=True).fit(X, y)
    np.testing.assert_allclose(path.leave_one_out, reference.cv_results_.mean(axis=0), rtol=1e-8)
    pick = int(np.argmin(path.leave_one_out))
    assert alphas[pick] == reference.alpha_
    np.testing.assert_allclose(path.predict(X, pick), reference.predict(X), rtol=1e-8)


@pytest.mark.parametrize("k", [1, 4, 20])
def test_neighbours_on_grouped_folds_equal_scikit_learn(k: int) -> None:
    table, X = table_of(n=120, signal=1.0)
    scheme = Scheme(kind="kfold", folds=3, seed=2)
    found = run(table, X, protocol_of(KNN(k=(k,)), scheme)).predictions.table
    groups = np.unique(table["patient_id"].astype(str), return_inverse=True)[1]
    y = np.unique(table["label"], return_inverse=True)[1]
    for fold, (train, test) in enumerate(StratifiedGroupKFold(3, shuffle=True, random_state=2).split(X, y, groups)):
        model = KNeighborsClassifier(k).fit(X[train], table["label"][train])
        rows = found[found["fold"] == fold]
        np.testing.assert_allclose(rows[[f"score:{c}" for c in "abcd"]].to_numpy(float), model.predict_proba(X[test]))
        np.testing.assert_array_equal(rows["predicted"], model.predict(X[test]))


@pytest.mark.parametrize("k", [1, 3, 10])
def test_neighbour_means_equal_scikit_learns_regressor(k: int) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 3)).astype(np.float32), rng.standard_normal(50)
    found = knn_scores(X[:40], X[40:], Target("y", "regression", (), y[:40]), KNN(k=(k,)))[k]
    expected = KNeighborsRegressor(k).fit(X[:40], y[:40]).predict(X[40:])
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)


def test_a_tied_vote_is_scikit_learns_lowest_class() -> None:
    X = np.array([[0.0], [1.0], [2.0], [3.0]], dtype=np.float32)
    y = np.array([2, 1, 1, 2])
    target = Target("y", "multiclass", ("a", "b", "c"), y)
    queries = np.array([[0.4], [1.45], [2.6]], dtype=np.float32)
    found = knn_scores(X, queries, target, KNN(k=(2, 4)))
    for k in (2, 4):
        model = KNeighborsClassifier(k).fit(X, y)
        np.testing.assert_array_equal(found[k].argmax(axis=1), model.predict(queries))
        np.testing.assert_allclose(found[k][:, 1:], model.predict_proba(queries))


def test_folds_of_the_shipped_default_are_grouped_and_cover_every_record_once() -> None:
    table, _ = table_of(n=160)
    scheme = load_protocol("linear-probe@1").scheme
    strata = np.unique(table["label"], return_inverse=True)[1]
    patients = table["patient_id"].to_numpy(dtype=object)
    folds, _ = make_folds(scheme, split=np.full(160, None), patients=patients, strata=strata)
    assert sorted(np.concatenate([f.test for f in folds]).tolist()) == list(range(160))
    for fold in folds:
        assert not set(patients[fold.train]) & set(patients[fold.test])
