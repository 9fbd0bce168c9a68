"""The result card: Hugging Face front matter (``model-index``) and prose a clinician can read.

Every number comes from the result; nothing is typed in.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from medfm.evaluation.summary import Estimate
from medfm.reporting.banners import banners
from medfm.reporting.result import Result
from medfm.reporting.tables import Table, class_table, group_table
from medfm.reporting.verdict import headline_chance, verdict
from medfm.reporting.words import count, figure, method_name, sentence, word

_TASKS = {
    "binary": "image-classification",
    "multiclass": "image-classification",
    "multilabel": "image-classification",
    "regression": "image-regression",
    "retrieval": "feature-extraction",
    "survival": "survival-analysis",
    "similarity": "image-to-image",
}


def result_card(result: Result) -> str:
    """The text of ``card.md``; equal results give equal texts."""
    return f"---\n{front_matter(result)}---\n\n" + "\n".join(_prose(result)).rstrip() + "\n"


def front_matter(result: Result) -> str:
    """Hugging Face front matter with the ``model-index``, as YAML."""
    return str(yaml.safe_dump(_front_matter(result), sort_keys=False, allow_unicode=True))


def markdown(text: object) -> str:
    """`text` with everything escaped that Markdown or HTML would act upon, on one line."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]<>|#!~])", r"\\\1", line)


def _front_matter(result: Result) -> dict[str, Any]:
    provenance, summary = result.provenance, result.summary
    tags = ["medfm", result.kind, provenance.get("modality"), "synthetic" if provenance.get("synthetic") else None]
    cohort = str(provenance.get("cohort", "cohort"))
    entry = {
        "task": {"type": _TASKS[summary.task], "name": f"{method_name(result.kind)} of {summary.target}"},
        "dataset": {"type": re.sub(r"[^a-z0-9]+", "-", cohort.lower()).strip("-") or "cohort", "name": cohort},
        "metrics": [_metric(estimate) for estimate in summary.headline if estimate.value is not None],
    }
    front: dict[str, Any] = {}
    if provenance.get("licence"):
        front["license"] = str(provenance["licence"])
    front["tags"] = [str(tag) for tag in tags if tag]
    front["model-index"] = [{"name": str(provenance.get("encoder", "encoder")), "results": [entry]}]
    front["medfm"] = {
        "result": result.id,
        "protocol": result.protocol.id,
        "fingerprint": provenance.get("fingerprint"),
        "weights": provenance.get("weights_kind"),
        "cohort_digest": provenance.get("cohort_digest"),
        "synthetic": bool(provenance.get("synthetic")),
        "allowed_checks": sorted({f.code for f in result.findings if f.allowed}),
        "created": provenance.get("created"),
    }
    return front


def _metric(estimate: Estimate) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": estimate.metric,
        "name": word(estimate.metric).title,
        "value": estimate.value,
    }
    if estimate.low is not None and estimate.high is not None:
        entry["args"] = {
            "level": estimate.level,
            "low": estimate.low,
            "high": estimate.high,
            "method": estimate.method,
        }
    return entry


def _prose(result: Result) -> list[str]:
    summary, provenance, protocol = result.summary, result.provenance, result.protocol
    lines = [f"# {markdown(result.title)}", ""]
    for banner in banners(result):
        lines += [f"> **{markdown(banner.title)}.** {markdown(banner.text)}", ""]
    lines += [f"**{markdown(verdict(result))}**", "", "## Figures", ""]
    for estimate in summary.headline:
        chance = headline_chance(result, estimate)
        against = "" if chance is None else f"; guessing would give {figure(chance)}"
        lines.append(f"- {markdown(sentence(estimate, summary.patients_known))}{against}")
    lines += [f"- note: {markdown(note)}" for note in summary.notes]
    patients = count(summary.n_patients, "patient") if summary.patients_known else "an unknown number of patients"
    lines += [
        "",
        "## What was done",
        "",
        f"The encoder **{markdown(provenance.get('encoder', 'encoder'))}** "
        f"(weights: {markdown(provenance.get('weights_kind', 'unknown'))}) was tested on the cohort "
        f"**{markdown(provenance.get('cohort', 'cohort'))}**: {count(summary.n_records, 'record')} of {patients}. "
        f"A {markdown(method_name(result.kind))} predicts {markdown(summary.target)} under the protocol "
        f"`{protocol.id}` ({markdown(protocol.title)}).",
        "",
    ]
    if protocol.source:
        lines += [f"Source of the procedure: {markdown(protocol.source.rstrip('.'))}.", ""]
    if protocol.deviations:
        lines += ["Deviations:", "", *[f"- {markdown(text)}" for text in protocol.deviations], ""]
    minimum = protocol.statistics.minimum_cell
    parts = (
        ("Classes", class_table(summary.per_class, summary.patients_known, labels=summary.task == "multilabel")),
        ("Sites", group_table(summary.sites, minimum, summary.patients_known)),
        ("Subgroups", group_table(summary.subgroups, minimum, summary.patients_known)),
    )
    for title, table in parts:
        if table is not None:
            lines += [f"## {title}", "", *markdown_table(table), ""]
    lines += ["## Checks", ""]
    failed = [f for f in result.findings if f.severity in ("error", "warning")]
    passed = sum(f.severity == "passed" for f in result.findings)
    for finding in failed:
        allowed = ", allowed by the user" if finding.allowed else ""
        lines.append(f"- {finding.code} {markdown(finding.title)} ({finding.severity}{allowed}): "
                     f"{markdown(finding.detail)}")  # fmt: skip
    lines += [f"- {count(passed, 'check')} passed", "", "## Limits", ""]
    lines += [
        "For research. Not a medical device. The figures hold for patients like those of the cohort; another "
        "hospital, scanner or staining can change them.",
        "",
        f"Result `{result.id}`; encoder fingerprint `{provenance.get('fingerprint', 'unknown')}`; "
        f"cohort digest `{provenance.get('cohort_digest', 'unknown')}`.",
    ]
    return lines


def markdown_table(table: Table) -> list[str]:
    """The lines of `table` in Markdown."""
    rows = [f"| {' | '.join(markdown(cell) for cell in row)} |" for row in table.rows]
    return [
        f"| {' | '.join(markdown(name) for name in table.header)} |",
        f"|{'---|' * len(table.header)}",
        *rows,
        *(["", markdown(table.note)] if table.note else []),
    ]
