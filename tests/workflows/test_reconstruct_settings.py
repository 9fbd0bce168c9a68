"""What ``medfm reconstruct`` refuses before any work, what it picks for pictures, and how visits' months are read."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cli.main import cli
from medfm.core.errors import ConfigError, EvaluationError
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.similarity_config import Interpolation, Reconstruction
from medfm.reporting.drawn_scans import digits
from medfm.workflows.draw_interpolation import _by_gap, months_of
from medfm.workflows.draw_reconstruction import window_note
from medfm.workflows.drawing_pictures import picked
from medfm.workflows.drawing_scans import Scan, chosen_rows, finite, generator_for
from medfm.workflows.reconstruct import _computed, _fits, plan_of


def system(*shape: int) -> SimpleNamespace:
    return SimpleNamespace(encoder=SimpleNamespace(modality="brain_mri", input_shape=(1, *shape)))


def cohort(splits: list[str | None], modality: str = "brain_mri") -> SimpleNamespace:
    table = pd.DataFrame({"split": pd.Series(splits, dtype="object")})
    return SimpleNamespace(modality=modality, name="c", table=table, __len__=None)


class Rows:
    """As much of a cohort as the choice of rows looks at."""

    name = "rows"

    def __init__(self, splits: list[str | None]) -> None:
        self.table = pd.DataFrame({"split": pd.Series(splits, dtype="object")})

    def __len__(self) -> int:
        return len(self.table)


@pytest.mark.parametrize("shortest", [1, 2, 3, 4, 5, 6, 7, 9])
def test_the_remedy_for_a_large_window_works(shortest):
    """What the message says to set is itself allowed, for whatever volume."""
    with pytest.raises(ConfigError, match=f"shortest side has {shortest}") as caught:
        _fits(system(20, shortest, 30), cohort([]), Reconstruction(windows=(shortest + 1,)))
    given_fix = str(caught.value).rpartition("--set ")[2].strip()
    plan = plan_of(overrides=(given_fix,))
    _fits(system(20, shortest, 30), cohort([]), plan.method)
    assert all(1 <= w <= shortest for w in plan.method.windows)


def test_a_cohort_of_something_else_is_refused():
    with pytest.raises(ConfigError, match="of modality 'ecg'") as caught:
        _fits(system(20, 20, 20), cohort([], "ecg"), Reconstruction())
    assert "--modality brain_mri" in str(caught.value)


@pytest.mark.parametrize("protocol", ["brain-age@1", "ldae-linear@1", "conversion-survival@1"])
def test_protocols_that_draw_nothing_are_refused(protocol):
    with pytest.raises(ConfigError, match="draws nothing") as caught:
        plan_of(protocol)
    assert "ldae-interpolation@1" in str(caught.value)


@pytest.mark.parametrize(
    ("protocol", "setting"),
    [
        ("ldae-reconstruction@1", "method.steps=[]"),
        ("ldae-reconstruction@1", "method.steps=[10,10]"),
        ("ldae-reconstruction@1", "method.steps=[0]"),
        ("ldae-reconstruction@1", "method.steps=20"),
        ("ldae-reconstruction@1", "method.time=months"),
        ("ldae-reconstruction@1", "method.windows=[]"),
        ("ldae-reconstruction@1", "method.windows=[4,4]"),
        ("ldae-reconstruction@1", "method.limit=0"),
        ("ldae-reconstruction@1", "method.records=train"),
        ("ldae-reconstruction@1", "method.step=[10]"),
        ("ldae-interpolation@1", "method.steps=[20]"),
        ("ldae-interpolation@1", "method.steps=0"),
        ("ldae-interpolation@1", "method.gap=far"),
        ("ldae-interpolation@1", "method.gaps=[6,6]"),
        ("ldae-interpolation@1", "method.gaps=[0,6]"),
        ("ldae-interpolation@1", "method.gap_tolerance=-1"),
        ("ldae-interpolation@1", "method.gap_tolerance=3"),
        ("ldae-interpolation@1", "method.semantic_only=false"),
    ],
)
def test_settings_that_cannot_be_are_refused(protocol, setting):
    with pytest.raises(ConfigError) as caught:
        plan_of(protocol, (setting,))
    assert setting.partition("=")[0].partition(".")[2] in str(caught.value) or "differ" in str(caught.value)


@pytest.mark.parametrize(
    "identity", ["ldae-reconstruction@1", "ldae-interpolation@1", "ldae-interpolation-published@1"]
)
def test_metrics_of_windows_that_are_left_out_are_left_out(identity):
    plan = load_protocol(identity)
    every = _computed(plan)
    fewer = _computed(plan_of(identity, ("method.windows=[4]",)))
    assert fewer == [name for name in every if "_w" not in name] and set(every) <= set(plan.metrics)


@pytest.mark.parametrize(
    ("splits", "settings_", "rows", "words"),
    [
        (["train", "test", "val", "test"], {}, [1, 3], ""),
        (["train", "test", "val", "test"], {"limit": 1}, [1], "first 1 of 2"),
        (["train", "test"], {"records": "all"}, [0, 1], ""),
        ([None, None], {}, [0, 1], "no split"),
        ([None, "test"], {}, [1], ""),
        ([None] * 5, {"limit": 9}, [0, 1, 2, 3, 4], "no split"),
    ],
)
def test_rows_that_are_drawn(splits, settings_, rows, words):
    found, said = chosen_rows(Rows(splits), Reconstruction(**settings_))  # type: ignore[arg-type]
    assert found == rows and words in " ".join(said) and bool(said) == bool(words)


@pytest.mark.parametrize(("splits", "match"), [(["train", "val"], "no test records"), ([], "no record to draw")])
def test_cohorts_without_a_row_to_draw(splits, match):
    with pytest.raises(EvaluationError, match=match):
        chosen_rows(Rows(splits), Reconstruction())  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=12))
def test_the_best_the_middle_and_the_worst_against_sorting(values):
    names = [f"r{i:02d}" for i in range(len(values))]
    table = pd.DataFrame({"record_id": names, "ssim": values})
    found = {role: str(row["record_id"]) for role, row in picked(table, "ssim")}
    order = sorted(range(len(values)), key=lambda i: (-values[i], names[i]))
    assert found["best"] == names[order[0]]
    assert found.get("worst", found["best"]) == names[order[-1]]
    assert len(found) == len(set(found.values())) == min(3, len(values))
    if len(values) > 2:
        assert found["median"] == names[order[(len(values) - 1) // 2]]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=10),
    st.sampled_from([0.0, 1.0, 2.0]),
)
def test_pairs_by_gap_against_a_loop(steps, tolerance):
    main = pd.DataFrame(
        {
            "time_gap": [float(a + b) for a, b in steps],
            "prediction_gap": [float(min(s)) for s in steps],
            "variant": "main",
        }
    )
    for gap, column in (("between", "time_gap"), ("nearest", "prediction_gap")):
        method = Interpolation(gap=gap, gap_tolerance=tolerance, gaps=(6, 12, 24))
        parts = {str(p["variant"].iloc[0]): sorted(p.index) for p in _by_gap(main, method)}
        expected = {}
        for wanted in (6, 12, 24):
            rows = [i for i, value in enumerate(main[column]) if wanted - tolerance <= value <= wanted + tolerance]
            if rows:
                expected[f"gap={wanted}"] = rows
        assert parts == expected
    assert set(main["variant"]) == {"main"}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 400), st.sampled_from(["{}", "M{}", "m{:02d}", "ses-M{:03d}", "ses-m{}", "sesM{}", " {} ", "{}.0"])
)
def test_months_are_read_back_from_every_way_to_write_them(month, way):
    assert months_of(way.format(month)) == month


@pytest.mark.parametrize("value", ["", "M", "ses-12", "12 months", "M-6", "nan", "inf", None, "2005-01-01", "V1"])
def test_what_is_no_number_of_months(value):
    assert months_of(value) is None


def scan(name: str) -> Scan:
    return Scan(0, name, "p", torch.zeros(1, 1, 2, 2, 2), np.eye(4), True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_record_of_a_voxel_that_is_not_finite_is_named(bad):
    volumes = torch.zeros(3, 1, 2, 2, 2)
    volumes[1, 0, 1, 0, 1] = bad
    with pytest.raises(EvaluationError, match="not finite") as caught:
        finite(volumes, [scan("a"), scan("b"), scan("c")], "4 steps")
    assert "record b" in str(caught.value) and "4 steps" in str(caught.value)
    assert finite(volumes[::2].double(), [scan("a"), scan("c")], "x").dtype == torch.float32


def test_noise_is_a_record_s_own_in_any_order_and_differs_by_seed_and_use():
    def first(seed: int, name: str, use: str) -> float:
        return float(torch.randn(1, generator=generator_for(seed, name, use)))

    keys = [(s, n, u) for s in (0, 1) for n in ("a", "b", "ab") for u in ("noise", "latent")]
    values = [first(*key) for key in keys]
    assert len(set(values)) == len(keys)
    assert [first(*key) for key in reversed(keys)] == values[::-1]


def test_the_note_on_windows_names_every_one():
    assert "window of 4 voxels; values" in window_note((4,))
    assert "window of 3 voxels; ssim_w5: 5; ssim_w11: 11; values" in window_note((3, 5, 11))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04, "0.040"),
        (0.0399, "0.040"),
        (0.00095, "0.00095"),
        (-0.04, "−0.040"),
        (0.1, "0.100"),
        (14.44, "14.4"),
        (0, "0.000"),
    ],
)
def test_small_figures_keep_two_that_matter(value, text):
    assert digits(value) == text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reconstruct"], "need --encoder"),
        (["--with", "b.nii.gz"], "need --encoder"),
        (["--encoder", "e", "--reconstruct", "--records", "3"], "--records has no meaning"),
        (["--encoder", "e", "--manipulate", "p", "--gain", "10"], "--gain has no meaning"),
        (["--encoder", "e", "--reconstruct", "--with", "b"], "Only one thing"),
        (["--encoder", "e", "--reconstruct", "--between", "b"], "needs the later one"),
        (["--encoder", "e", "--reconstruct", "--strength", "3"], "belongs to a direction"),
        (["--encoder", "e", "--with", "b", "--share", "0.4"], "none is named"),
        (["--encoder", "e", "--with", "b", "--between", "c", "--share", "1.5"], "share is 1.5"),
        (["--encoder", "e", "--steps", "4"], "Nothing is asked"),
        (["--encoder", "e", "--manipulate", "p", "--strength", "-1"], "strength is -1"),
        (["--encoder", "e", "--reconstruct", "--steps", "0"], "0 steps"),
    ],
)
def test_options_of_show_that_do_not_go_together(arguments, words, tmp_path):
    """Refused by what they are: the scan is not even looked for."""
    done = CliRunner().invoke(cli, ["data", "show", str(tmp_path / "none.nii.gz"), *arguments])
    said = done.output + str(done.exception or "")
    assert done.exit_code != 0 and words in said, said
    assert not list(tmp_path.iterdir())
