"""The report's section on fine-tuning."""

from __future__ import annotations

import base64
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from medfm.reporting.finetune import before_line, finetune_section, training_plot
from medfm.reporting.html import render_report
from medfm.reporting.result import Result
from tests.tiny_results import tiny_result


def epoch(step: int, stage: str, layers: dict[str, int], rate: float, validation: float | None = 0.5) -> dict[str, Any]:
    return {
        "step": step, "stage": stage, "loss": 1.0 / (step + 1), "validation_loss": validation,
        "rates": {"head": rate, "stage4": rate / 2}, "rates_end": {"head": rate / 3, "stage4": rate / 6},
        "trainable": layers,
    }  # fmt: skip


def entry(**changes: Any) -> dict[str, Any]:
    sleeping, awake = {"stem": 0, "layer4": 0, "head": 9}, {"stem": 0, "layer4": 70, "head": 9}
    rows = [epoch(0, "probe", sleeping, 1e-3), epoch(1, "tune", sleeping, 4e-5), epoch(2, "tune", awake, 1e-3)]
    kept = {"stage": "tune", "epoch": 3, "loss": 0.5}
    return {
        "recipe": "bpd <b>", "description": "what", "source": "", "deviations": ["one <i>"], "kept": kept,
        "threshold": {"value": 0.25, "chosen": "highest sum"}, "rows": rows, **changes,
    }  # fmt: skip


def beside(value: float | None, low: float | None, high: float | None, metric: str = "auroc") -> dict[str, Any]:
    ends = {"value": 0.8, "low": 0.7, "high": 0.9}
    row = {
        "metric": metric, "better": "higher", "before": ends, "after": ends, "p": 0.0004, "method": "DeLong",
        "difference": {"value": value, "low": low, "high": high},
    }  # fmt: skip
    return {"protocol": "linear-probe@1", "encoder": "e", "level": 0.95, "rows": [row], "common": 40}


@pytest.fixture(scope="module")
def result() -> Result:
    made = tiny_result()
    return replace(made, extras={**made.extras, "finetune": entry()})


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are put together, but not turned into SVG, which is most of a page's time."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"<svg></svg>"))


def with_before(result: Result, before: dict[str, Any]) -> Result:
    from medfm.reporting.verdict import deciding

    decided = deciding(result)
    assert decided is not None
    before["rows"][0]["metric"] = decided[0].metric
    return replace(result, extras={**result.extras, "finetune": entry(before=before)})


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.1, 0.02, 0.2), "Fine-tuning helped"),
        ((-0.1, -0.2, -0.02), "Fine-tuning did harm"),
        ((0.1, -0.02, 0.2), "not shown to help"),
        ((0.1, None, None), "without interval"),
        ((None, None, None), "cannot be said"),
    ],
)
def test_one_sentence_says_whether_it_helped(result: Result, ends: tuple[Any, Any, Any], said: str) -> None:
    assert said in before_line(with_before(result, beside(*ends)))


def test_without_a_probe_it_says_so(result: Result, blank_pictures: None) -> None:
    section = finetune_section(result)
    assert section is not None and section["table"] is None and "No probe" in section["sentence"]
    assert finetune_section(SimpleNamespace(extras={})) is None  # type: ignore[arg-type]


def test_the_section_is_on_the_page_and_escaped(result: Result, blank_pictures: None) -> None:
    page = render_report(with_before(result, beside(0.1, 0.02, 0.2)))
    assert "Did fine-tuning help?" in page and "&lt;0.001" in page
    assert "bpd &lt;b&gt;" in page and "one &lt;i&gt;" in page and "<b>" not in page
    assert "3 of 3, in the stage &#39;tune&#39;" in page and "0.2500: highest sum" in page


def test_the_picture_is_the_same_every_time_and_has_its_three_panels() -> None:
    plot = training_plot(entry())
    assert plot is not None and plot == training_plot(entry())
    svg = base64.b64decode(plot.uri.partition(",")[2]).decode()
    assert svg.count('id="axes_') == 3 and "mathdefault" not in svg
    assert training_plot(entry(rows=[])) is None


def test_many_groups_and_no_validation_can_be_drawn(blank_pictures: None) -> None:
    layers = {f"block{i}": 5 for i in range(24)} | {"head": 1}
    rates = {name: 1e-3 * 0.75**i for i, name in enumerate(["head", *(f"block{i}" for i in range(24))])}
    rows = [
        {**epoch(i, "tune", layers, 1e-3, None), "rates": rates, "rates_end": rates} for i in range(2)
    ]  # fmt: skip
    plot = training_plot(entry(rows=rows, kept={"stage": "tune", "epoch": 2, "loss": None}))
    assert plot is not None and "9 lowest layer groups are not drawn" in plot.caption


def figure_of(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    """The figure before it becomes SVG."""
    from matplotlib.figure import Figure

    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: (seen.append(self), file.write(b"<svg></svg>")))
    training_plot(entry(**changes))
    return seen[0]


def test_the_number_of_learning_parameters_stands_beside_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = {"stem": 0, "layer4": 1234567, "head": 9}
    rows = [epoch(0, "probe", {**layers, "layer4": 0}, 1e-3), epoch(1, "tune", layers, 1e-3)]
    plot = training_plot(entry(rows=rows))
    assert plot is not None and "9 parameters learn at first, 1\u202f234\u202f576 at last" in plot.caption
    figure = figure_of(monkeypatch, rows=rows)
    assert [text.get_text() for text in figure.axes[2].texts] == ["–", "1\u202f234\u202f567", "9"]
    same = training_plot(entry(rows=rows[:1]))
    assert same is not None and "9 parameters learn throughout" in same.caption


def test_equal_rates_are_dashed_and_every_groups_highest_rate_is_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"head": 1e-2, "low-rank updates": 1e-2, "stem": 1e-9}
    rows = [{**epoch(i, "tune", {"stem": 3, "head": 9}, 1.0), "rates": rates, "rates_end": rates} for i in range(2)]
    figure = figure_of(monkeypatch, rows=rows)
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    dashed = [name for name, line in lines.items() if line.is_dashed()]
    assert dashed == ["low-rank updates"]
    low, high = figure.axes[1].get_ylim()
    assert low < 1e-9 and high > 1e-2
    top = figure.axes[0].get_ylim()
    assert top[0] == 0 and top[1] > max(row["loss"] for row in rows)


def test_epochs_are_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figure_of(monkeypatch, rows=[epoch(i, "tune", {"head": 9}, 1e-3) for i in range(2)])
    assert all(float(tick).is_integer() for tick in figure.axes[2].get_xticks())
