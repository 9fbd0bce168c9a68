"""The report's section on scans that were drawn from codes: figures by variant, distances, the sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medfm.evaluation.predictions import MAIN
from medfm.evaluation.similarity_config import Interpolation, Reconstruction
from medfm.evaluation.similarity_metrics import spec
from medfm.evaluation.summary import Estimate
from medfm.reporting.error_pictures import picture_uri
from medfm.reporting.figures import COLOURS, GREY, Plot, draw
from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.words import count, figure, word

_ROLES = {"best": "The best", "median": "In the middle", "worst": "The worst"}


def drawn_section(result: Result) -> dict[str, Any] | None:
    """What ``_drawn.html.j2`` shows; ``None`` for results of another kind."""
    method = result.protocol.method
    if result.summary.task != "similarity" or not isinstance(method, (Reconstruction, Interpolation)):
        return None
    interpolated = isinstance(method, Interpolation)
    names = _metrics(result)
    return {
        "title": "How near are the visits drawn in between?" if interpolated else "How near are the drawn scans?",
        "lines": _lines(result, method),
        "plots": [p for p in (_plot(result, name) for name in names[:2]) if p is not None],
        "table": _table(result, names),
        "distances": _distances(result.extras.get("distances")),
        "distance_words": _distance_words(result.extras.get("distances")),
        "sheets": _sheets(result, interpolated),
        "sheet_note": _SHEET_NOTE,
    }


_SHEET_NOTE = (
    "Slices through the middle of the head, drawn again for this page. Colours show the signed difference; white is none. All "
    "differences of a sheet share the scale that its bar states. A drawn scan is no examination: it shows what networks make of "
    "a few numbers."
)


def display(variant: str, result: Result) -> str:
    """A variant as people call it."""
    method = result.protocol.method
    if variant == MAIN:
        return f"both codes, {method.steps[-1]} steps" if isinstance(method, Reconstruction) else "all gaps"
    if variant.startswith("steps="):
        return f"both codes, {variant.removeprefix('steps=')} steps"
    if variant.startswith("semantic, steps="):
        return f"semantic code alone, {variant.removeprefix('semantic, steps=')} steps"
    if variant.startswith("gap="):
        return f"gap of {variant.removeprefix('gap=')} months"
    return {"autoencoder": "autoencoder alone (ceiling)", "mean image": "mean training image (floor)"}.get(
        variant, variant
    )


def _metrics(result: Result) -> list[str]:
    return list(dict.fromkeys(e.metric for e in result.summary.headline))


def _lines(result: Result, method: Reconstruction | Interpolation) -> list[str]:
    summary = result.summary
    if isinstance(method, Reconstruction):
        return [
            f"{count(summary.n_records, 'scan')} of {count(summary.n_patients, 'patient')}: encoded, drawn again, and compared "
            "with the scan itself. The autoencoder alone is the best that codes can give; the mean image is what any brain "
            "scores that was brought to the same place."
        ]
    lines = [
        f"{count(summary.n_records, 'visit')} of {count(summary.n_patients, 'patient')}, each drawn from an earlier and a later "
        f"visit in {method.steps} steps. Figures “against the scan” compare with the true visit, the others with the "
        "autoencoder's version of it, which leaves the autoencoder's own error out."
    ]
    return lines + [line for line in (_gain(result, name) for name in ("scan_gain_mse", "scan_gain_ssim")) if line]


def _gain(result: Result, name: str) -> str:
    """Whether codes or blended images are nearer, in words."""
    try:
        found = result.summary.estimate(name)
    except KeyError:
        return ""
    if found.value is None or found.low is None or found.high is None:
        return ""
    what = "MSE" if name.endswith("mse") else "SSIM"
    text = f"{what} against the scan, codes over blended images: {_signed(found.value)} ({_signed(found.low)} to {_signed(found.high)}); "
    if found.low > 0:
        return text + "interpolated codes are nearer to the true visit than blended images."
    if found.high < 0:
        return text + "blended images are nearer to the true visit than interpolated codes."
    return text + "no difference between interpolated codes and blended images is shown."


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _variants(result: Result) -> list[str]:
    """Best first: the ceiling, both codes by steps, the semantic code alone by steps, the floor; or gaps in order."""

    def place(variant: str) -> tuple[int, float]:
        if variant == "autoencoder":
            return 0, 0.0
        if variant == "mean image":
            return 3, 0.0
        method = result.protocol.method
        last = method.steps[-1] if isinstance(method, Reconstruction) else 0
        number = variant.rpartition("=")[2]
        return (2 if variant.startswith("semantic") else 1), float(last if variant == MAIN else number)

    return sorted(result.predictions.variants, key=place)


def _table(result: Result, names: Sequence[str]) -> Table:
    """A row per variant: mean with interval and the standard deviation of every figure."""
    rows = []
    for variant in _variants(result):
        part = result.predictions.of_variant(variant).table
        cells = [display(variant, result), str(len(part))]
        for name in names:
            cells.append(_cell(_estimate(result, name, variant), part[name].to_numpy(np.float64)))
        rows.append(tuple(cells))
    what = "visits" if isinstance(result.protocol.method, Interpolation) else "scans"
    gains = " Gains are paired differences, above 0 where codes are nearer than blended images."
    return Table(
        ("variant", what, *(_short(name) for name in names)),
        tuple(rows),
        f"Mean, and in brackets its interval over patients; SD: standard deviation over {what}."
        + (gains if any("gain_" in name for name in names) else ""),
        figures=True,
    )


def _cell(estimate: Estimate | None, values: np.ndarray) -> str:
    if estimate is None or estimate.value is None:
        return "–"
    inside = (
        [] if estimate.low is None or estimate.high is None else [f"{digits(estimate.low)} to {digits(estimate.high)}"]
    )
    inside += [f"SD\u00a0{digits(float(values.std(ddof=1)))}"] if len(values) > 1 else []
    return digits(estimate.value) + (f" ({', '.join(inside)})" if inside else "")


def digits(value: float) -> str:
    """As everywhere from 0.1 on; of smaller values, such as errors, two figures that matter."""
    return figure(value) if abs(value) >= 0.1 or value == 0 else f"{value:#.2g}".replace("-", "−")


def _short(name: str) -> str:
    parts = spec(name)
    assert parts is not None
    return parts.title.replace("autoencoder versions", "AE versions")


def _estimate(result: Result, metric: str, variant: str) -> Estimate | None:
    try:
        return result.summary.estimate(metric, variant)
    except KeyError:
        return None


def _plot(result: Result, metric: str) -> Plot | None:
    """One figure of every variant with its interval."""
    found = [
        (v, e) for v in _variants(result) if (e := _estimate(result, metric, v)) is not None and e.value is not None
    ]
    if len(found) < 2:
        return None
    title = word(metric).title
    parts = spec(metric)
    lower = parts is not None and parts.lower_is_better
    text = "; ".join(f"{display(v, result)}: {digits(e.value or 0.0)}" for v, e in found)
    return Plot(
        title,
        draw(lambda fig: _paint(fig, found, result, title), 1.1 + 0.27 * len(found)),
        f"{title}. {text}.",
        f"Mean and its interval over patients. Further {'left' if lower else 'right'} is better.",
    )


def _paint(fig: Figure, found: Sequence[tuple[str, Estimate]], result: Result, title: str) -> None:
    axes = fig.subplots()
    for place, (variant, estimate) in enumerate(found):
        assert estimate.value is not None
        edge = variant in ("autoencoder", "mean image")
        colour = GREY if edge else COLOURS[1] if variant.startswith("semantic") else COLOURS[0]
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot([estimate.value], [place], marker="D" if edge else "o", markersize=5.5, color=colour)
    axes.set_yticks(range(len(found)), [display(v, result) for v, _ in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.grid(axis="x", color="#e3e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(title)


def _distances(found: Mapping[str, Any] | None) -> Table | None:
    if not found or "why_not" in found:
        return None
    names = {MAIN: "both codes", "mean image": "mean image"}
    rows = []
    for row in found["rows"]:
        label = names.get(row["variant"], row["variant"].replace("semantic, steps=", "semantic code alone, steps "))
        if "why_not" in row:
            rows.append((label, row["why_not"], "–", str(row["left_out"])))
            continue
        rows.append((label, _interval(row["mmd2"]), _interval(row["frechet"]), str(row["left_out"])))
    return Table(("drawn from", "MMD²", "Fréchet distance", "left out"), tuple(rows), "", figures=True)


def _interval(entry: Mapping[str, Any]) -> str:
    text = digits(float(entry["value"]))
    if entry.get("low") is None or entry.get("high") is None:
        return text
    return f"{text} ({digits(float(entry['low']))} to {digits(float(entry['high']))})"


def _distance_words(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    if "why_not" in found:
        return [f"Not computed: {found['why_not']}."]
    kernel = next((row["mmd2"]["note"] for row in found["rows"] if "mmd2" in row), "")
    lines = [
        f"Features: {found['dim']} numbers of {found['encoder']}, of {count(found['records'], 'real scan')} and as many drawn ones"
        + (f"; MMD² with the {kernel}." if kernel else "."),
        "0 is best; MMD² may be slightly below. The Fréchet distance of few scans is biased upwards: compare only values of the "
        "same number of scans and the same encoder.",
    ]
    if found["own"]:
        lines.append(
            "The encoder that drew them judges them itself, which flatters: a drawn scan may have the right code and the wrong "
            "looks. --features names another encoder."
        )
    if found["records"] <= found["dim"]:
        lines.append("There are no more scans than features, so the Fréchet distance says little.")
    return lines


def _sheets(result: Result, interpolated: bool) -> list[dict[str, str]]:
    shown = []
    for entry in result.extras.get("drawn") or ():
        uri = picture_uri(result.thumbnails.get(str(entry["record_id"])))
        if not uri:
            continue
        against = " against the scan" if interpolated else ""
        gap = f", {entry['gap']:g} months between the two visits" if "gap" in entry else ""
        title = (
            f"{_ROLES[entry['role']]} of all: SSIM{against} {digits(entry['ssim'])}, MSE {digits(entry['mse'])}{gap}"
        )
        shown.append({"title": title, "uri": uri, "alt": f"Slices of {entry['record_id']}. {title}."})
    return shown
