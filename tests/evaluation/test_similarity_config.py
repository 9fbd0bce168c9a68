"""The shipped protocols that draw volumes, and settings that cannot be."""

from __future__ import annotations

import pytest

from medfm.core.errors import ConfigError, EvaluationError
from medfm.evaluation.metrics import metric
from medfm.evaluation.protocol import list_protocols, load_protocol
from medfm.evaluation.similarity_config import Interpolation, Reconstruction, VolumeDrawing

NAMES = ("ldae-reconstruction@1", "ldae-interpolation@1", "ldae-interpolation-published@1")


@pytest.mark.parametrize("name", NAMES)
def test_shipped_protocols_load_and_their_metrics_exist(name):
    plan = load_protocol(name)
    assert name in list_protocols() and isinstance(plan.method, VolumeDrawing) and plan.deviations
    for one in plan.metrics:
        assert metric(one, "similarity").name == one
    assert plan.method.windows == (4, 11)


def test_the_published_steps_and_gaps():
    assert load_protocol("ldae-reconstruction@1").method.steps == (10, 20, 50, 100)
    ours, published = (load_protocol(f"ldae-interpolation{v}@1").method for v in ("", "-published"))
    assert ours.gaps == published.gaps == (6, 12, 18, 24) and ours.steps == published.steps == 100
    # What the published program did and ours does not.
    assert (published.limit, published.latents, published.gap_tolerance) == (200, "drawn", 0)
    assert (ours.limit, ours.latents, ours.gap_tolerance) == (None, "mean", 1)


def test_flaws_are_named_in_both():
    ours, published = (load_protocol(f"ldae-interpolation{v}@1") for v in ("", "-published"))
    assert sum(d.startswith("FLAW, kept") for d in published.deviations) == 3
    assert sum(d.startswith("MENDED") for d in ours.deviations) == 2
    assert "scan_mse" in ours.metrics and "scan_mse" not in published.metrics


def test_the_last_number_of_steps_is_the_headline():
    assert Reconstruction(steps=(5, 30)).headline == "steps=30"
    assert load_protocol(NAMES[0], overrides=("method.steps=[3]",)).method.headline == "steps=3"


@pytest.mark.parametrize(
    ("kind", "settings", "match"),
    [
        (Reconstruction, {"steps": (0,)}, "at least 1"),
        (Reconstruction, {"steps": (5, 5)}, "different"),
        (Reconstruction, {"steps": ()}, "at least 1"),
        (Reconstruction, {"windows": (4, 4)}, "different"),
        (Reconstruction, {"windows": (0,)}, "at least 1"),
        (Reconstruction, {"limit": 0}, "greater than or equal"),
        (Reconstruction, {"records": "val"}, "test"),
        (Interpolation, {"gaps": (0,)}, "above 0"),
        (Interpolation, {"gaps": (6, 7), "gap_tolerance": 0.5}, "overlap"),
        (Interpolation, {"gap_tolerance": -1}, "greater than or equal"),
        (Interpolation, {"steps": 0}, "greater than or equal"),
        (Interpolation, {"gap": "far"}, "between"),
    ],
)
def test_settings_that_cannot_be(kind, settings, match):
    with pytest.raises(ValueError, match=match):
        kind(**settings)


def test_an_unknown_setting_is_named():
    with pytest.raises(ConfigError, match="windws"):
        load_protocol(NAMES[0], overrides=("method.windws=[4]",))


def test_probes_refuse_protocols_that_draw():
    import numpy as np

    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.evaluation.evaluate import evaluate

    nothing: Cohort = None  # type: ignore[assignment]
    with pytest.raises(EvaluationError, match="draws volumes") as caught:
        evaluate(Embeddings(np.zeros((0, 2), np.float32), ()), nothing, "label", load_protocol(NAMES[0]))
    assert "medfm reconstruct" in str(caught.value)
