"""The HTML report: one file without scripts or outside resources, for phone, desk and paper."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from medfm.evaluation.predictions import MAIN
from medfm.evaluation.summary import Estimate, Summary
from medfm.reporting import tables
from medfm.reporting.banners import banners
from medfm.reporting.baseline import baseline_context
from medfm.reporting.brain_age import brain_age_section
from medfm.reporting.concepts import concepts_context
from medfm.reporting.curves import decision_plot, pr_plot, reliability_plot, roc_plot
from medfm.reporting.drawn_scans import drawn_section
from medfm.reporting.error_pictures import error_words, shown_errors
from medfm.reporting.explanations import explanations_context
from medfm.reporting.few_shot import few_shot_section
from medfm.reporting.figures import Plot
from medfm.reporting.finetune import finetune_section
from medfm.reporting.gaps import gap_table
from medfm.reporting.glossary import glossary
from medfm.reporting.intervals import class_plot, main_variant, regression_plots, variant_plot
from medfm.reporting.maps import batch_plot, map_plots
from medfm.reporting.nested import nested_section
from medfm.reporting.participants import participants_section
from medfm.reporting.precision import precision_lines
from medfm.reporting.protocols import protocol_changes
from medfm.reporting.result import Result
from medfm.reporting.retrieval import retrieval_section
from medfm.reporting.survival import survival_section
from medfm.reporting.verdict import deciding, headline_chance, verdict
from medfm.reporting.words import count, figure, interval, method_name, sentence, word
from medfm.reporting.zero_shot import zero_shot_section

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_LISTED = ("software", "hardware", "seeds", "failures")
_MOST_FAILURES = 50
_SHOWN = (  # extras with a table of their own
    "chosen",
    "paper_average",
    "untrained",
    "zero_shot",
    "few_shot",
    "chance",
    "shown_texts",
    "explanations",
    "concepts",
    "survival",
    "brain_age",
    "drawn",
    "distances",
    "over_mean_image",
    "direction",
    "finetune",
    "participants",
    "nested",
)
_ELSEWHERE = ("protocol", "encoder", "cohort", "seeds")  # settings that the page shows in another place


@cache
def _environment() -> jinja2.Environment:
    # Autoescape everywhere: record ids, class names and cohort names are user input.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_report(result: Result) -> str:
    """The report as one HTML text; equal results give equal texts."""
    return render_page("report.html.j2", **_context(result))


def render_page(template: str, **values: Any) -> str:
    """Fill one of the templates beside this file; all values are escaped."""
    css = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    return _environment().get_template(template).render(css=css, **values)


def _context(result: Result) -> dict[str, Any]:
    summary, provenance = result.summary, result.provenance
    minimum = result.protocol.statistics.minimum_cell
    plots = [roc_plot(summary), pr_plot(summary), class_plot(summary.per_class)]
    if summary.task == "regression":
        plots = [*regression_plots(result.predictions)]
    return {
        "title": result.title,
        "subtitle": f"{method_name(result.kind)} of {summary.target}, protocol {result.protocol.id}",
        "verdict": verdict(result),
        "baseline": baseline_context(result),
        "concepts": concepts_context(result),
        "banners": banners(result),
        "lead": _lead(result),
        "headline": _headline(result),
        "method": _one_method(summary),
        "sizes": _sizes(result),
        "notes": summary.notes,
        "plots": _present(plots),
        "confusion": _confusion(summary),
        "class_table": tables.class_table(
            summary.per_class, summary.patients_known, labels=summary.task == "multilabel"
        ),
        "site_table": tables.group_table(summary.sites, minimum, summary.patients_known),
        "subgroup_table": tables.group_table(summary.subgroups, minimum, summary.patients_known),
        "gap_table": gap_table(summary),
        "calibration_table": tables.calibration_rows(summary),
        "calibration_plots": _present([reliability_plot(summary.calibration), decision_plot(summary)]),
        "few_shot": (few := few_shot_section(result)),
        "drawn": (drawn := drawn_section(result)),
        # Its learning curve shows the variants.
        "variant_plot": None if few or drawn else variant_plot(summary, main_variant(result.protocol)),
        "variant_table": None if drawn else tables.variant_table(summary, main_variant(result.protocol)),
        "fold_table": tables.fold_table(summary.folds, result.protocol.paper_std),
        "map_plots": map_plots(result),
        "batch_plot": batch_plot(result.batch_effect),
        "retrieval": retrieval_section(result),
        "survival": survival_section(result),
        "brain_age": brain_age_section(result),
        "finetune": finetune_section(result),
        "participants": participants_section(result),
        "precision": precision_lines(result),
        "nested": nested_section(result),
        "errors": (errors := shown_errors(result)),
        "error_words": error_words(result),
        "explanations": explanations_context(result, errors),
        "error_table": None if any(e["uri"] for e in errors) else tables.error_table(errors, summary.task),
        "changes": protocol_changes(result.protocol),
        "regression": summary.task == "regression",
        "checks": tables.check_table(result.findings),
        "protocol": result.protocol,
        "protocol_rows": _protocol_rows(result),
        "chosen": tables.record_table(result.extras.get("chosen")),
        "extras_rows": tables.flat({k: v for k, v in result.extras.items() if k not in _SHOWN}),
        "provenance_rows": _provenance_rows(result),
        "software_rows": tables.flat(provenance.get("software") or {}),
        "hardware_rows": tables.flat(provenance.get("hardware") or {}),
        "config_rows": tables.flat({k: v for k, v in result.config.items() if k not in _ELSEWHERE}),
        "failures": (provenance.get("failures") or [])[:_MOST_FAILURES],
        "zero_shot": zero_shot_section(result),
        "glossary": glossary(result),
        "result_id": result.id,
    }


def _present(plots: list[Plot | None]) -> list[Plot]:
    return [plot for plot in plots if plot is not None]


def _sizes(result: Result) -> str:
    summary = result.summary
    if result.kind == "mil":
        # One prediction per patient: its records here are the patients.
        return f"Tested on {count(summary.n_records, 'patient')}, each a bag of cells{_classes(summary)}."
    patients = count(summary.n_patients, "patient") if summary.patients_known else "patients unknown"
    return f"Tested on {count(summary.n_records, 'record')}, {patients}{_classes(summary)}."


def _classes(summary: Summary) -> str:
    if summary.task == "multilabel":
        return f", {count(len(summary.classes), 'label')}"
    if summary.task == "binary":
        return f"; the positive class is “{summary.classes[1]}”, the other “{summary.classes[0]}”"
    return f", {count(len(summary.classes), 'class', 'classes')}" if summary.classes else ""


def _headline(result: Result) -> list[dict[str, str]]:
    cards = []
    for estimate in result.summary.headline:
        chance = headline_chance(result, estimate)
        cards.append(
            {
                "title": word(estimate.metric).title,
                "value": figure(estimate.value),
                "interval": interval(estimate),
                "sizes": _own_sizes(estimate, result.summary),
                "chance": "" if chance is None else f"guessing: {figure(chance)}",
                "method": "" if _one_method(result.summary) else estimate.method,
            }
        )
    return cards


def _lead(result: Result) -> str:
    """The figure that the verdict is about, in one sentence."""
    found = deciding(result)
    headline = result.summary.headline
    estimate = found[0] if found else headline[0] if headline else None
    return f"{sentence(estimate, result.summary.patients_known)}." if estimate else ""


def _own_sizes(estimate: Estimate, summary: Summary) -> str:
    """The sizes behind one figure where they are not those of the whole evaluation."""
    if estimate.n_records in (0, summary.n_records):
        return ""
    patients = f", {count(estimate.n_patients, 'patient')}" if summary.patients_known else ""
    return count(estimate.n_records, "record") + patients


def _one_method(summary: Summary) -> str:
    """How all intervals of the headline came about; empty where they differ."""
    methods = {estimate.method for estimate in summary.headline if estimate.low is not None}
    return methods.pop() if len(methods) == 1 else ""


def _confusion(summary: Summary) -> dict[str, Any] | None:
    if not summary.confusion:
        return None
    rows = []
    for name, counts in zip(summary.classes, summary.confusion, strict=True):
        total = sum(counts)
        shares = [n / total if total else 0.0 for n in counts]
        cells = [
            # A shade of blue up to a strength at which black text can still be read.
            {"n": n, "percent": f"{100 * share:.0f} %" if total else "–", "shade": f"{0.62 * share:.2f}"}
            for n, share in zip(counts, shares, strict=True)
        ]
        rows.append({"name": name, "total": total, "cells": cells})
    return {"classes": summary.classes, "rows": rows}


def _protocol_rows(result: Result) -> list[tuple[str, str]]:
    settings = result.protocol.to_dict()
    rows = [(key, settings[key]) for key in ("method", "scheme", "statistics")]
    rows = [row for row in rows if result.kind != "zero_shot" or row[0] != "scheme"]  # nothing is trained
    flat = [row for key, group in rows for row in tables.flat({key: group})]
    if result.protocol.fractions != (1.0,):
        flat.append(("fractions", ", ".join(f"{100 * f:g} %" for f in result.protocol.fractions)))
    variants = [v for v in result.predictions.variants if v != MAIN]
    return flat + ([("variants", ", ".join(variants))] if variants else [])


def _provenance_rows(result: Result) -> list[tuple[str, str]]:
    provenance = {k: v for k, v in result.provenance.items() if k not in _LISTED}
    rows = [("result id", result.id), *tables.flat(provenance)]
    return rows + tables.flat({"seeds": result.provenance.get("seeds") or {}})
