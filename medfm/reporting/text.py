"""The one-screen summary of a result for a terminal."""

from __future__ import annotations

import textwrap

from medfm.reporting.banners import banners
from medfm.reporting.baseline import baseline_line
from medfm.reporting.brain_age import gap_sentence
from medfm.reporting.concepts import concept_sentence
from medfm.reporting.protocols import protocol_changes
from medfm.reporting.result import Result
from medfm.reporting.verdict import verdict
from medfm.reporting.words import count, figure, interval, method_name, word

_WIDTH = 100
_MOST_BANNERS = 5


def one_screen(result: Result) -> str:
    """Name, warnings, size, headline figures with intervals, and where the weights come from."""
    summary = result.summary
    provenance = result.provenance
    lines = [result.title, "-" * min(len(result.title), _WIDTH)]
    warnings = [banner for banner in banners(result) if banner.level != "note"]
    for banner in warnings[:_MOST_BANNERS]:
        mark = "!!" if banner.level == "stop" else "! "
        lines += _wrap(f"{mark} {banner.title}: {banner.text}")
    if len(warnings) > _MOST_BANNERS:
        lines.append(f"!  and {len(warnings) - _MOST_BANNERS} more warnings; see the report")
    lines.append(verdict(result))
    lines += _wrap(baseline_line(result))
    lines += _wrap(concept_sentence(result))
    lines += _wrap(gap_sentence(result))
    patients = count(summary.n_patients, "patient") if summary.patients_known else "patients unknown"
    tested = f"{count(summary.n_records, 'record')}, {patients}"
    if result.kind == "mil":
        tested = f"{count(summary.n_records, 'patient')}, each a bag of cells"
    what = "labels" if summary.task == "multilabel" else "classes"
    classes = f", {len(summary.classes)} {what}" if summary.classes else ""
    if summary.task == "binary":
        classes += f", positive: {summary.classes[1]}"
    changed = " (changed, see the report)" if protocol_changes(result.protocol) else ""
    lines += [
        "",
        f"target    {summary.target} ({summary.task}{classes})",
        f"tested    {tested}",
        f"method    {method_name(result.kind)}, protocol {result.protocol.id}{changed}",
        f"encoder   {provenance.get('encoder', 'unknown')}, {_weights(provenance.get('weights_kind'))}",
        "",
    ]
    rows = [(word(e.metric).title, figure(e.value), interval(e)) for e in summary.headline]
    first = max((len(row[0]) for row in rows), default=0)
    lines += [f"  {name:<{first}}  {value:>7}  {text}" for name, value, text in rows]
    by_variant: dict[str, list[str]] = {}
    for estimate in summary.variants:
        by_variant.setdefault(estimate.variant, []).append(f"{word(estimate.metric).title} {figure(estimate.value)}")
    if by_variant:
        lines.append("")
        lines += [f"  {variant}: {figures[0]}" for variant, figures in list(by_variant.items())[:8]]
    for note in summary.notes[:3]:
        lines += _wrap(f"note: {note}")
    lines += ["", f"result    {result.id[:16]}"]
    return "\n".join(lines)


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="   ")


def _weights(kind: object) -> str:
    """``weights: random``, but not ``weights: no weights``."""
    text = str(kind or "unknown")
    return text if text.endswith("weights") else f"weights: {text}"
