"""The TRIPOD+AI checklist (Collins et al., BMJ 2024;385:e078378) filled as far as a run can.

Item numbers and topics are facts; the topics are put in our own short words. There are 27 main
items with 52 sub-items, and 13 items for abstracts. The statement has the binding text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medfm.reporting.card import markdown
from medfm.reporting.document_facts import Facts
from medfm.reporting.precision import precision_lines
from medfm.reporting.survival_documents import survival_events, survival_size

FILLED, PARTLY, ANSWERED, MISSING = "from the run", "from the run, to be completed", "by the authors", "missing"


@dataclass(frozen=True)
class Item:
    """One item: number, section, topic, what the run knows, and what only people know (both may be)."""

    number: str
    section: str
    topic: str
    known: Callable[[Facts], str | None] | None = None
    question: str | None = None


@dataclass(frozen=True)
class Line:
    """One filled line of the checklist."""

    item: Item
    state: str
    text: str


def _updating(facts: Facts) -> str:
    return "The model was not updated or recalibrated on the test records."


def _class_imbalance(facts: Facts) -> str | None:
    if facts.result.summary.task == "survival":
        return "There are no classes: times to an event, censored or not."
    if facts.result.summary.task not in ("binary", "multiclass", "multilabel"):
        return None
    recipe = facts.result.config.get("recipe") or {}
    chosen = (recipe.get("objective") or recipe).get("balance") if isinstance(recipe, dict) else None
    if chosen is not None:
        ways = {
            "none": "Classes were neither weighted nor drawn to count alike.",
            "sampler": "Records were drawn so that classes are equally frequent in training.",
        }
        return ways.get(str(chosen), "Classes were weighted in the loss to count alike.")
    weights = facts.result.protocol.to_dict()["method"].get("class_weight")
    if weights is None:
        return None
    return (
        "Classes were weighted to count alike."
        if weights == "balanced"
        else "Classes were neither weighted nor drawn to count alike."
    )


def _counts(facts: Facts) -> str | None:
    entry = facts.people
    if not entry:
        return None
    parts = "; ".join(f"{p['name']}: {p['records']} records" for p in entry["parts"]) + ". Labels by part: Table 1."
    return " ".join(filter(None, (parts, survival_events(facts.result))))


def _specification(facts: Facts) -> str:
    return f"{facts.model_type()} {facts.threshold() or ''}".strip()


def _performance(facts: Facts) -> str:
    return " ".join(filter(None, [facts.headline(), facts.calibration(), facts.fairness()]))


def _software(facts: Facts) -> str:
    versions = facts.provenance.get("software") or {}
    return f"Software: {', '.join(f'{k} {v}' for k, v in versions.items())}." if versions else "medfm."


def _table_one(facts: Facts) -> str | None:
    return "See Table 1 beside this file." if facts.people and facts.people["rows"] else None


def _precision(facts: Facts) -> str | None:
    return " ".join(filter(None, (*precision_lines(facts.result), survival_size(facts.result)))) or None


_OPEN = "Open science"
ITEMS = (
    Item(
        "1", "Title", "Names the model study, its patients and outcome", lambda f: f"{f.model_name()}.", "study_title"
    ),
    Item("2", "Abstract", "Abstract after the checklist for abstracts", None, "abstract"),
    Item("3a", "Introduction", "Clinical context and existing models", None, "healthcare_context"),
    Item("3b", "Introduction", "Patients aimed at, purpose and users", None, "intended_use"),
    Item("3c", "Introduction", "Known health inequalities", None, "inequalities"),
    Item("4", "Introduction", "Objectives", None, "objectives"),
    Item("5a", "Methods: data", "Sources of the data", Facts.data, "setting"),
    Item("5b", "Methods: data", "Dates of the data", None, "dates"),
    Item("6a", "Methods: participants", "Setting and centres", None, "setting"),
    Item("6b", "Methods: participants", "Who was eligible", None, "eligibility"),
    Item("6c", "Methods: participants", "Treatments", None, "treatments"),
    Item("7", "Methods: data preparation", "Preparation and checks of the data", Facts.checks),
    Item("8a", "Methods: outcome", "Definition of the outcome", Facts.output, "outcome"),
    Item("8b", "Methods: outcome", "Who assessed the outcome", None, "assessors"),
    Item("8c", "Methods: outcome", "Blinding of that assessment", None, "blinding"),
    Item("9a", "Methods: predictors", "Choice of the predictors", None, "choice_of_inputs"),
    Item(
        "9b",
        "Methods: predictors",
        "Definition and measurement",
        lambda f: f"Records of the modality {f.provenance['modality']}." if f.provenance.get("modality") else None,
        "measurement",
    ),
    Item("9c", "Methods: predictors", "Who assessed predictors, where people did", None, "input_assessors"),
    Item("10", "Methods: sample size", "How the size was decided", _precision, "sample_size"),
    Item("11", "Methods: missing data", "Handling of missing data", Facts.missing),
    Item("12a", "Methods: analysis", "Use and division of the data", Facts.scheme),
    Item("12b", "Methods: analysis", "Handling of predictors", Facts.building),
    Item("12c", "Methods: analysis", "Kind of model, building, internal validation", Facts.building),
    Item(
        "12d",
        "Methods: analysis",
        "Differences between hospitals or other clusters",
        Facts.batch,
        "cluster_differences",
    ),
    Item("12e", "Methods: analysis", "Measures of performance", Facts.intervals),
    Item("12f", "Methods: analysis", "Updating of the model", _updating),
    Item("12g", "Methods: analysis", "How predictions were made", lambda f: f.threshold() or f.output()),
    Item("13", "Methods: class imbalance", "Handling of class imbalance", _class_imbalance, "class_imbalance"),
    Item("14", "Methods: fairness", "Approach to fairness", Facts.fairness, "fairness_approach"),
    Item("15", "Methods: output", "What the model gives, classes and thresholds", Facts.output),
    Item(
        "16",
        "Methods: training and evaluation",
        "Differences between the two sets of data",
        _counts,
        "data_differences",
    ),
    Item("17", "Methods: ethics", "Ethical approval", None, "ethics"),
    Item("18a", _OPEN, "Funding", None, "funding"),
    Item("18b", _OPEN, "Conflicts of interest", None, "conflicts"),
    Item("18c", _OPEN, "Study protocol", None, "study_protocol"),
    Item("18d", _OPEN, "Registration", None, "registration"),
    Item("18e", _OPEN, "Sharing of data", None, "data_sharing"),
    Item("18f", _OPEN, "Sharing of code", _software, "code_sharing"),
    Item("19", "Patients and public", "Their involvement", None, "involvement"),
    Item("20a", "Results: participants", "Flow of participants", Facts.flow),
    Item("20b", "Results: participants", "Characteristics", _table_one),
    Item("20c", "Results: participants", "Development and evaluation data compared", _table_one, "data_differences"),
    Item("21", "Results: development", "Participants and events in each analysis", _counts),
    Item("22", "Results: specification", "The full model", _specification),
    Item("23a", "Results: performance", "Performance with intervals, also in groups", _performance),
    Item("23b", "Results: performance", "Differences between clusters", Facts.sites),
    Item("24", "Results: updating", "Results of updating", _updating),
    Item("25", "Discussion", "Interpretation", None, "interpretation"),
    Item("26", "Discussion", "Limitations", None, "limitations"),
    Item("27a", "Discussion: use", "Poor or missing input in use", None, "poor_input"),
    Item("27b", "Discussion: use", "What users must do and know", None, "interaction"),
    Item("27c", "Discussion: use", "Next steps", None, "next_steps"),
)


def _abstract_scale(facts: Facts) -> str | None:
    summary = facts.result.summary
    patients = f" of {summary.n_patients} patients" if summary.patients_known else ""
    return f"Tested on {summary.n_records} records{patients}. {_counts(facts) or ''}".strip()


# The checklist for abstracts (Table 3 of the statement): 13 items, in our own short words.
ABSTRACT_ITEMS = (
    Item("1", "Title", "Kind of study, patients, outcome", lambda f: f"{f.model_name()}.", "study_title"),
    Item("2", "Background", "Clinical context and why a model", None, "healthcare_context"),
    Item("3", "Objectives", "Development, evaluation or both", None, "objectives"),
    Item("4", "Methods", "Sources of the data", Facts.data, "setting"),
    Item("5", "Methods", "Who was eligible, and where", None, "eligibility"),
    Item("6", "Methods", "Outcome and time horizon", Facts.output, "outcome"),
    Item("7", "Methods", "Kind of model, building, internal validation", lambda f: f"{f.building()} {f.scheme()}"),
    Item("8", "Methods", "Measures of performance", Facts.intervals),
    Item("9", "Results", "Numbers of participants and events", _abstract_scale),
    Item(
        "10",
        "Results",
        "Predictors of the final model",
        lambda f: f"The record itself, by the encoder {f.provenance.get('encoder', 'encoder')}.",
    ),
    Item("11", "Results", "Performance with intervals", lambda f: f.headline()),
    Item("12", "Discussion", "Interpretation", None, "interpretation"),
    Item("13", "Registration", "Number and register", None, "registration"),
)


def abstract_checklist(facts: Facts) -> list[Line]:
    """Every item of the checklist for abstracts with its state and text."""
    return [_line(item, facts) for item in ABSTRACT_ITEMS]


def checklist(facts: Facts) -> list[Line]:
    """Every item with its state and text."""
    return [_line(item, facts) for item in ITEMS]


def _line(item: Item, facts: Facts) -> Line:
    known = item.known(facts) if item.known else None
    if item.question is None:
        return Line(item, FILLED if known else MISSING, known or "The run has no such figure; say why in the report.")
    if (
        item.question == "class_imbalance"
        and facts.result.summary.task == "survival"
        and not facts.answered(item.question)
    ):
        return Line(item, FILLED, known or "")  # nothing is left to be answered where there are no classes
    text = facts.answer(item.question)
    if facts.answered(item.question):
        return Line(item, ANSWERED, f"{known} {text}" if known else text)
    return Line(item, PARTLY if known else MISSING, f"{known} {text}" if known else text)


def tripod_markdown(facts: Facts) -> str:
    """The checklist as Markdown: what is filled, what is still missing."""
    lines, abstract = checklist(facts), abstract_checklist(facts)
    tally = {state: sum(line.state == state for line in lines) for state in (FILLED, PARTLY, ANSWERED, MISSING)}
    text = [
        "# TRIPOD+AI checklist",
        "",
        f"{markdown(facts.result.title)}; result `{facts.result.id}`.",
        "",
        "Collins et al., BMJ 2024;385:e078378: 27 main items, 52 sub-items. The topics below are short names in our own "
        "words; the statement's text is binding. Numbers and topics were compared with public transcriptions of the "
        "statement, not with the journal's own sheet: do that before you submit it.",
        "",
        *[f"- {state}: {number}" for state, number in tally.items()],
        "",
        *_table(lines),
        "",
        "## Checklist for abstracts",
        "",
        "TRIPOD+AI for Abstracts (item 2): 13 items. What the abstract has to say; write it into `abstract`.",
        "",
        *_table(abstract),
        "",
        "## Still missing",
        "",
        *[f"- {x.item.number} {x.item.topic}" for x in lines if x.state in (MISSING, PARTLY)],
        *[f"- abstract {x.item.number} {x.item.topic}" for x in abstract if x.state in (MISSING, PARTLY)],
    ]
    return "\n".join(text).rstrip() + "\n"


def _table(lines: Sequence[Line]) -> list[str]:
    return [
        "| item | section | topic | state | text |",
        "|---|---|---|---|---|",
        *[
            f"| {line.item.number} | {line.item.section} | {line.item.topic} | {line.state} | {markdown(line.text)} |"
            for line in lines
        ],
    ]
