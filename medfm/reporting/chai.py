"""The applied model card of the Coalition for Health AI (XML, schema v0.2), and a check of its elements.

The order and the optional elements are those of the published schema (mc.chai.org, v0.2/schema.xsd).
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from medfm.core.errors import StoreError
from medfm.reporting.document_facts import Facts
from medfm.reporting.words import word

NAMESPACE = "https://mc.chai.org/v0.2/schema.xsd"

# Element -> its children in order; a text element is the empty tuple. "?" may be absent, "*" any number, "+" one or more.
_METRIC: dict[str, Any] = {
    "MetricGoal": {},
    "Results": {"MetricResult+": {"Label": {}, "ValueJson": {}}},
    "Interpretation": {},
    "TestType": {},
    "TestingDataDescription": {},
    "ValidationProcessAndJustification": {},
}
STRUCTURE: dict[str, Any] = {
    "BasicInfo": {"ModelName": {}, "ModelDeveloper": {}, "DeveloperContact": {}},
    "ReleaseInfo": {
        "ReleaseStage": {},
        "ReleaseDate": {},
        "ReleaseVersion": {},
        "GlobalAvailability": {},
        "EHRCompatibility?": {"EHR*": {}},
        "RegulatoryApproval?": {},
    },
    "ModelSummary": {"Summary": {}, "Keywords": {"Keyword*": {}}},
    "UsesAndDirections": {
        "IntendedUseAndWorkflow": {},
        "PrimaryIntendedUsers": {},
        "HowToUse": {},
        "TargetedPatientPopulation": {},
        "CautionedOutOfScopeSettings": {},
    },
    "Warnings": {"KnownRisksAndLimitations": {}, "KnownBiasesOrEthicalConsiderations": {}, "ClinicalRiskLevel": {}},
    "TrustIngredients": {
        "AISystemFacts": {
            "OutcomesAndOutputs": {},
            "ModelType": {},
            "FoundationModels?": {},
            "InputDataSource": {},
            "OutputAndInputDataTypes": {},
            "DevelopmentDataCharacterization": {},
            "BiasMitigationApproaches": {},
            "OngoingMaintenance": {},
            "Security?": {},
            "Transparency?": {},
        },
        "TransparencyInformation": {"FundingSource": {}, "ThirdPartyInformation?": {}, "StakeholdersConsulted": {}},
    },
    "KeyMetrics": {"UsefulnessUsabilityEfficacy": _METRIC, "FairnessEquity": _METRIC, "SafetyReliability": _METRIC},
    "Resources": {
        "EvaluationReferences?": {},
        "ClinicalTrial?": {},
        "PeerReviewedPublications": {},
        "ReimbursementStatus?": {},
        "PatientConsentOrDisclosure": {},
    },
    "Bibliography": {},
}


def chai_card(facts: Facts) -> str:
    """The card as XML text; what only people know says "To be completed"."""
    ElementTree.register_namespace("", NAMESPACE)
    root = Element(f"{{{NAMESPACE}}}AppliedModelCard")
    _fill(root, STRUCTURE, _values(facts))
    ElementTree.indent(root)
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
    problems = chai_problems(text)
    if problems:
        raise StoreError(f"The CHAI card does not fit its schema: {problems[0]}.")
    return text


def chai_problems(text: str) -> list[str]:
    """What does not fit the schema's elements: names, order, number, missing text; empty for a valid card."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        return [f"no XML: {error}"]
    if root.tag != f"{{{NAMESPACE}}}AppliedModelCard":
        return [f"the root is '{root.tag}', not AppliedModelCard of {NAMESPACE}"]
    return _problems(root, STRUCTURE, "AppliedModelCard")


def _problems(element: Element, structure: dict[str, Any], where: str) -> list[str]:
    children = list(element)
    if not structure:
        if children:
            return [f"{where} has elements in it, not text"]
        return [] if (element.text or "").strip() else [f"{where} is empty"]
    found: list[str] = []
    place = 0
    for rule, inner in structure.items():
        name = rule.rstrip("?*+")
        first = place
        while place < len(children) and children[place].tag == f"{{{NAMESPACE}}}{name}":
            found += _problems(children[place], inner, f"{where}/{name}")
            place += 1
        if place == first and rule[-1] not in "?*":
            found.append(f"{where} lacks {name}, or has it in another place")
        if place - first > 1 and rule[-1] not in "*+":
            found.append(f"{where} has {name} more than once")
    unknown = [child.tag.rpartition("}")[2] for child in children[place:]]
    return found + [f"{where} has {name} where the schema has none" for name in unknown]


def _fill(parent: Element, structure: dict[str, Any], values: dict[str, Any]) -> None:
    for rule, inner in structure.items():
        name = rule.rstrip("?*+")
        value = values.get(name)
        if value is None:
            continue
        for one in value if isinstance(value, list) else [value]:
            child = SubElement(parent, f"{{{NAMESPACE}}}{name}")
            if inner:
                _fill(child, inner, one)
            else:
                child.text = _clean(one)


def _clean(text: str) -> str:
    """`text` without characters that XML 1.0 cannot hold."""
    return "".join(
        c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )


def _values(f: Facts) -> dict[str, Any]:
    p, summary = f.provenance, f.result.summary
    method = f"{f.intervals()} {f.scheme()}"
    headline = [
        _metric(word(e.metric).title, e.value, e.low, e.high) for e in summary.headline if e.value is not None
    ]  # fmt: skip
    groups = [
        _metric(f"{word(e.metric).title}, {column} {value}", e.value, e.low, e.high)
        for column, value, e in f.groups()
        if e.value is not None
    ]
    gaps = [
        _metric(f"{word(g.metric).title} by {g.column}", g.value, g.low, g.high)
        for g in summary.gaps
        if g.value is not None
    ]
    c = summary.calibration
    calibration = (
        [_metric(name, e.value, e.low, e.high) for name, e in (("Brier score", c.brier), ("ECE", c.ece))] if c else []
    )

    def part(goal: str, results: list[dict[str, str]], meaning: str, said: str) -> dict[str, Any]:
        none = [_metric("not measured by this run", None)]
        return {
            "MetricGoal": f.answer(goal),
            "Results": {"MetricResult": results or none},
            "Interpretation": f.answer(meaning),
            "TestType": said,
            "TestingDataDescription": f.data(),
            "ValidationProcessAndJustification": method,
        }

    internal = "Internal: records of the same cohort."
    return {
        "BasicInfo": {
            "ModelName": f.model_name(),
            "ModelDeveloper": f.answer("developer"),
            "DeveloperContact": f.answer("contact"),
        },
        "ReleaseInfo": {
            "ReleaseStage": f.answer("release_stage"),
            "ReleaseDate": f.answer("release_date"),
            "ReleaseVersion": f.answer("version"),
            "GlobalAvailability": f.answer("availability"),
        },
        "ModelSummary": {
            "Summary": f"{f.model_type()} {f.output()} {f.headline()}",
            "Keywords": {"Keyword": [str(k) for k in ("medfm", f.result.kind, p.get("modality")) if k]},
        },
        "UsesAndDirections": {
            "IntendedUseAndWorkflow": f.answer("intended_use"),
            "PrimaryIntendedUsers": f.answer("users"),
            "HowToUse": f.answer("interaction"),
            "TargetedPatientPopulation": f.answer("population"),
            "CautionedOutOfScopeSettings": f.answer("out_of_scope"),
        },
        "Warnings": {
            "KnownRisksAndLimitations": f"For research; not a medical device. {f.checks()} {f.answer('risks')}",
            "KnownBiasesOrEthicalConsiderations": " ".join(filter(None, [f.batch(), f.fairness(), f.answer("bias")])),
            "ClinicalRiskLevel": f.answer("risk_level"),
        },
        "TrustIngredients": {
            "AISystemFacts": {
                "OutcomesAndOutputs": f.output(),
                "ModelType": f.model_type(),
                "FoundationModels": str(p.get("encoder", "encoder")),
                "InputDataSource": f.answer("measurement"),
                "OutputAndInputDataTypes": f"In: {p.get('modality', 'records')}. Out: {f.output()}",
                "DevelopmentDataCharacterization": " ".join(filter(None, [f.data(), f.flow(), f.answer("setting")])),
                "BiasMitigationApproaches": f.answer("fairness_approach"),
                "OngoingMaintenance": f.answer("maintenance"),
            },
            "TransparencyInformation": {
                "FundingSource": f.answer("funding"),
                "StakeholdersConsulted": f.answer("involvement"),
            },
        },
        "KeyMetrics": {
            "UsefulnessUsabilityEfficacy": part("goal", headline, "interpretation", internal),
            "FairnessEquity": part("fairness_goal", groups + gaps, "interpretation", internal),
            "SafetyReliability": part("safety_goal", calibration, "interpretation", internal),
        },
        "Resources": {
            "PeerReviewedPublications": f.answer("publications"),
            "PatientConsentOrDisclosure": f.answer("consent"),
        },
        "Bibliography": f.answer("bibliography"),
    }


def _metric(label: str, value: float | None, low: float | None = None, high: float | None = None) -> dict[str, str]:
    figures: dict[str, float | None] = {"value": value}
    if low is not None and high is not None:
        figures |= {"low": low, "high": high}
    return {"Label": label, "ValueJson": json.dumps(figures, allow_nan=False)}
