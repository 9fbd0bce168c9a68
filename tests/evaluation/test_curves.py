import numpy as np
import pytest
from sklearn import metrics as sk
from statistics_cases import binary_case, binary_outcomes, case, multiclass_case, multilabel_case

from medfm.evaluation.bootstrap import Clusters, collect
from medfm.evaluation.curves import GRID, MACRO, ClassCurves, curves, precision_columns, roc_columns
from medfm.evaluation.metrics import evaluate
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted


def upper(grid: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Largest y of the polyline at each grid point, by brute force."""
    best = np.full(len(grid), -np.inf)
    for x0, x1, y0, y1 in zip(x[:-1], x[1:], y[:-1], y[1:], strict=True):
        for i, g in enumerate(grid):
            if x0 - 1e-12 <= g <= x1 + 1e-12:
                best[i] = max(best[i], y1 if x1 - x0 < 1e-12 else y0 + (y1 - y0) * (g - x0) / (x1 - x0))
    return best


@pytest.mark.parametrize("ties", [True, False])
def test_roc_is_sklearns_polyline(ties):
    outcomes = Outcomes.of(binary_case(ties=ties))
    (curve,), _ = curves(outcomes, [1], ["ill"], None, 0.95, macro=False)
    x, y, _ = sk.roc_curve(outcomes.truth, outcomes.scores[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(curve.y, upper(GRID, x, y), atol=1e-9)
    assert curve.low == ()
    assert curve.y[-1] == 1.0


@pytest.mark.parametrize("ties", [True, False])
def test_precision_is_that_of_the_first_cut_off_reaching_the_recall(ties):
    outcomes = Outcomes.of(binary_case(ties=ties))
    _, (curve,) = curves(outcomes, [1], ["ill"], None, 0.95, macro=False)
    precision, recall, _ = sk.precision_recall_curve(outcomes.truth, outcomes.scores[:, 1])
    for x, y in zip(curve.x, curve.y, strict=True):
        # sklearn lists falling recall; the last one still >= x is the highest cut-off.
        place = np.flatnonzero(recall[:-1] >= max(x, 1e-9) - 1e-12)[-1]
        assert y == pytest.approx(precision[place])


def test_area_under_the_grid_is_close_to_the_auroc():
    outcomes = Outcomes.of(binary_case(3000, 3000))
    (curve,), _ = curves(outcomes, [1], ["ill"], None, 0.95, macro=False)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(evaluate(outcomes, ["auroc"])["auroc"], abs=0.005)


@pytest.mark.parametrize("maker", [multiclass_case, multilabel_case])
def test_each_class_against_the_rest_and_their_mean(maker):
    outcomes = Outcomes.of(maker())
    size = len(outcomes.classes)
    roc, pr = curves(outcomes, list(range(size)), list(outcomes.classes), None, 0.95, macro=True)
    assert [c.name for c in roc] == [c.name for c in pr] == [MACRO, *outcomes.classes]
    np.testing.assert_allclose(roc[0].y, np.mean([c.y for c in roc[1:]], axis=0))
    for c in range(size):
        if outcomes.task == "multilabel":
            known = ~np.isnan(outcomes.truth[:, c])
            single = binary_outcomes(outcomes.truth[known, c].astype(int), outcomes.scores[known, c])
        else:
            single = binary_outcomes((outcomes.truth == c).astype(int), outcomes.scores[:, c])
        (alone,), _ = curves(single, [1], ["yes"], None, 0.95, macro=False)
        np.testing.assert_allclose(roc[1 + c].y, alone.y)


def test_a_class_without_records_has_no_curve():
    whole = Outcomes.of(multiclass_case())
    part = whole.take(whole.truth != 2)
    roc, pr = curves(part, [0, 1, 2, 3], list(part.classes), None, 0.95, macro=True)
    assert "class 2" not in [c.name for c in roc]
    assert "class 2" not in [c.name for c in pr]
    assert None not in roc[0].y


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_bands(task):
    predictions = case(task)
    outcomes = Outcomes.of(predictions)
    labels = [1] if task == "binary" else list(range(len(outcomes.classes)))
    clusters = Clusters.of(predictions.patients())
    drawn = collect(outcomes, clusters, {"c": ClassCurves(outcomes, labels)}, resamples=100, seed=0)["c"]
    assert drawn.shape == (2, len(labels), len(GRID), 100)
    names = [outcomes.classes[c] for c in labels]
    for curve in [c for kind in curves(outcomes, labels, names, drawn, 0.95, task != "binary") for c in kind]:
        inside = [low - 1e-9 <= y <= high + 1e-9 for low, y, high in zip(curve.low, curve.y, curve.high, strict=True)]
        # Pointwise bands of a concave-ish step curve may miss it at the very ends.
        assert np.mean(inside) > 0.85


def test_fewer_cut_offs_change_little():
    outcomes = Outcomes.of(binary_case(5000, 5000))
    view = Weighted(outcomes, np.ones((5000, 1)))
    exact, coarse = (ClassCurves(outcomes, [1], cuts)(view) for cuts in (None, 512))
    assert np.abs(exact - coarse)[0].max() < 0.01
    assert np.abs(exact - coarse)[1, :, 5:].max() < 0.02


def test_weights_equal_repeated_records():
    outcomes = Outcomes.of(binary_case(ties=True))
    counts = np.random.default_rng(0).integers(0, 3, len(outcomes))
    repeated = outcomes.take(np.repeat(np.arange(len(outcomes)), counts))
    weighted = ClassCurves(outcomes, [1], None)(Weighted(outcomes, counts[:, None].astype(float)))
    literal = ClassCurves(repeated, [1], None)(Weighted(repeated, np.ones((len(repeated), 1))))
    np.testing.assert_allclose(weighted, literal, atol=1e-12)


def test_reading_a_curve():
    half = np.array([0.0, 0.25, 0.5])
    # Perfect ranking: TPR is 1 from the start. First cut-off takes both kinds: the line from the origin counts.
    false = np.array([[0.0, 0.5], [0.0, 0.5], [1.0, 1.0]])
    true = np.array([[0.5, 0.8], [1.0, 0.8], [1.0, 1.0]])
    np.testing.assert_allclose(roc_columns(false, true, half), [[1.0, 0.0], [1.0, 0.4], [1.0, 0.8]])
    grid = np.array([0.0, 0.5, 0.75, 1.0])
    found = precision_columns(np.array([[1.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [2.0]]), grid)
    assert found[:, 0].tolist() == [1.0, 1.0, 0.5, 0.5]
