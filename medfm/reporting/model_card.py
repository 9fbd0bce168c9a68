"""A model card in the nine sections of Mitchell et al. (FAT* 2019) with Hugging Face front matter."""

from __future__ import annotations

from medfm.reporting.banners import banners
from medfm.reporting.card import front_matter, markdown, markdown_table
from medfm.reporting.document_facts import Facts
from medfm.reporting.participants import table_one
from medfm.reporting.tables import class_table, group_table
from medfm.reporting.words import sentence

SECTIONS = (
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
)


def model_card(facts: Facts) -> str:
    """The text of ``model_card.md``."""
    lines = [f"# {markdown(facts.model_name())}", ""]
    for banner in banners(facts.result):
        lines += [f"> **{markdown(banner.title)}.** {markdown(banner.text)}", ""]
    bodies = (_details, _use, _factors, _metrics, _evaluation_data, _training_data, _analyses, _ethics, _caveats)
    for title, body in zip(SECTIONS, bodies, strict=True):
        lines += [f"## {title}", "", *body(facts), ""]
    return f"---\n{front_matter(facts.result)}---\n\n" + "\n".join(lines).rstrip() + "\n"


def _named(name: str, text: str | None) -> list[str]:
    return [f"- {name}: {markdown(text)}"] if text else []


def _details(f: Facts) -> list[str]:
    p = f.provenance
    return [
        *_named("developer", f.answer("developer")),
        *_named("contact", f.answer("contact")),
        *_named("version", f.answer("version")),
        *_named("model", f.model_type()),
        *_named("output", f.output()),
        *_named("licence of the encoder", str(p["licence"]) if p.get("licence") else None),
        *_named("procedure", f.result.protocol.source or f.result.protocol.title),
        *_named("created", str(p.get("created") or "unknown")),
    ]


def _use(f: Facts) -> list[str]:
    return [
        *_named("purpose", f.answer("intended_use")),
        *_named("users", f.answer("users")),
        *_named("patients", f.answer("population")),
        *_named("out of scope", f"Not a medical device. {f.answer('out_of_scope')}"),
    ]


def _factors(f: Facts) -> list[str]:
    columns = sorted({r.column for r in (*f.result.summary.sites, *f.result.summary.subgroups)})
    return [
        *_named("groups with figures of their own", ", ".join(columns) or "none"),
        *_named("hospitals and devices", f.batch()),
        *_named("known inequalities", f.answer("inequalities")),
    ]


def _metrics(f: Facts) -> list[str]:
    return [
        *_named("figures", f.intervals()),
        *_named("decision", f.threshold()),
        *_named("goal", f.answer("goal")),
    ]


def _evaluation_data(f: Facts) -> list[str]:
    return [
        *_named("data", f.data()),
        *_named("flow", f.flow()),
        *_named("division", f.scheme()),
        *_named("checks", f.checks()),
        *_named("setting", f.answer("setting")),
    ]


def _training_data(f: Facts) -> list[str]:
    table = table_one(f.people) if f.people else None
    said = "The cohort of the evaluation, divided as stated there."
    weights = f.provenance.get("weights_note")
    return [
        *_named("of the classifier", said),
        *_named("of the encoder", str(weights) if weights else "see the encoder's own card"),
        *(["", *markdown_table(table)] if table else []),
    ]


def _analyses(f: Facts) -> list[str]:
    s, smallest = f.result.summary, f.result.protocol.statistics.minimum_cell
    lines = ["Unitary:", "", *[f"- {markdown(sentence(e, s.patients_known))}" for e in s.headline]]
    lines += [f"- {markdown(text)}" for text in (f.calibration(), *s.notes) if text]
    tables = (
        class_table(s.per_class, s.patients_known, labels=s.task == "multilabel"),
        group_table(s.sites, smallest, s.patients_known),
        group_table(s.subgroups, smallest, s.patients_known),
    )
    for table in tables:
        if table is not None:
            lines += ["", *markdown_table(table)]
    crossed = sorted({r.column for r in s.subgroups if "*" in r.column})
    if crossed:
        return [*lines, "", f"Intersectional: {markdown(', '.join(crossed))}, in the table above."]
    return [*lines, "", "Intersectional: groups of groups (such as old women of one site) were not evaluated."]


def _ethics(f: Facts) -> list[str]:
    return [
        *_named("approval and consent", f.answer("ethics")),
        *_named("fairness", f.fairness()),
        *_named("biases", f.answer("bias")),
        *_named("risks", f.answer("risks")),
    ]


def _caveats(f: Facts) -> list[str]:
    return [
        "- The figures hold for patients like those of the cohort; another hospital or device can change them.",
        *_named("limitations", f.answer("limitations")),
        *_named("next", f.answer("next_steps")),
    ]
