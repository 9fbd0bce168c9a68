"""What the documents say: from the run what the run knows, from people what only they can know.

Nothing is invented: a question that nobody answered stands in the documents as "To be completed".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfm.evaluation.groups import MISSING
from medfm.evaluation.summary import Estimate
from medfm.reporting.gaps import gap_figure
from medfm.reporting.result import Result
from medfm.reporting.survival_documents import survival_building, survival_output
from medfm.reporting.tables import value_with_ends, with_interval
from medfm.reporting.words import count, figure, method_name, sentence, word

OPEN = "To be completed: "

# What no run can know. The key is the name in answers.yaml.
QUESTIONS = {
    "developer": "who made the model (organisation)",
    "contact": "whom to write to",
    "version": "version of the model",
    "release_date": "date of the release",
    "release_stage": "stage of release, such as research only",
    "availability": "where the model may be used",
    "study_title": "a title that names the kind of study, the patients and the outcome",
    "abstract": "an abstract after the TRIPOD+AI checklist for abstracts",
    "healthcare_context": "the clinical problem, why a model is wanted, and which models exist",
    "intended_use": "what the model is for, and where in the care of a patient",
    "users": "who is to use it",
    "population": "for which patients it is meant",
    "out_of_scope": "for what it must not be used",
    "inequalities": "known differences in health or care between groups of such patients",
    "objectives": "the objectives of the study: development, evaluation or both",
    "setting": "the setting, the hospitals and how patients came into the data",
    "dates": "from when to when the data were collected",
    "eligibility": "who was included and excluded before the table was made",
    "treatments": "treatments that patients received, if they matter",
    "outcome": "how the label was defined and measured, and when",
    "assessors": "who assigned the labels, and how well qualified they were",
    "blinding": "what the assessors of the label knew of the records",
    "choice_of_inputs": "why these records were chosen as input of the model",
    "measurement": "how the records were acquired, by whom and with which devices",
    "input_assessors": "who judged the input, where people did, and how well qualified they were",
    "cluster_differences": "how differences between hospitals or devices were handled",
    "class_imbalance": "what was done about classes of unequal size, and whether probabilities were recalibrated after it",
    "data_differences": "how the data of development and evaluation differ in setting, eligibility, outcome and predictors",
    "sample_size": "how the size of the study was decided",
    "fairness_approach": "what was done about fairness, and why",
    "ethics": "ethical approval and consent",
    "consent": "what patients are told of the model's use",
    "funding": "who paid, and what the payer decided",
    "conflicts": "conflicts of interest",
    "study_protocol": "where the study protocol is, or that there is none",
    "registration": "where the study is registered, or that it is not",
    "data_sharing": "whether and how the data can be had",
    "code_sharing": "where the code of the study is",
    "involvement": "how patients and the public took part, or that they did not",
    "goal": "which figures would make the model useful, decided before the results were seen",
    "fairness_goal": "which differences between groups would be acceptable",
    "safety_goal": "which errors are dangerous and how rare they must be",
    "interpretation": "what the figures mean in the light of other studies",
    "limitations": "limitations of the study",
    "risks": "what can go wrong for a patient",
    "risk_level": "clinical risk level",
    "bias": "known biases and ethical considerations",
    "poor_input": "what users must do about poor or missing records",
    "interaction": "what users must know and do to use the model",
    "next_steps": "what has to be studied next",
    "maintenance": "who watches the model in use, and when it is updated",
    "publications": "peer-reviewed publications, or none",
    "bibliography": "references",
}


class Facts:
    """The texts of the documents for one result and the answers people gave.

    Args:
        result: The run.
        answers: Text by key of :data:`QUESTIONS`; empty texts count as no answer.
    """

    def __init__(self, result: Result, answers: Mapping[str, str] | None = None) -> None:
        self.result = result
        self.answers = {key: text.strip() for key, text in (answers or {}).items() if text.strip()}

    def answered(self, key: str) -> bool:
        """Whether somebody answered."""
        return key in self.answers

    def answer(self, key: str) -> str:
        """The answer, or ``"To be completed: ..."``."""
        return self.answers.get(key) or f"{OPEN}{QUESTIONS[key]}."

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the result comes from."""
        return self.result.provenance

    @property
    def people(self) -> dict[str, Any] | None:
        """Who took part; ``None`` for results that do not say."""
        found: dict[str, Any] | None = self.result.extras.get("participants")
        return found

    def model_name(self) -> str:
        """What the model is called: the encoder, fine-tuned or with a classifier on it."""
        encoder = str(self.provenance.get("encoder", "encoder"))
        return f"{encoder} ({method_name(self.result.kind)} of {self.result.summary.target})"

    def output(self) -> str:
        """What the model gives."""
        summary = self.result.summary
        if summary.task == "survival":
            return survival_output(self.result)
        classes = ", ".join(summary.classes)
        kinds = {
            "binary": f"probability of “{summary.classes[-1]}” (against “{summary.classes[0]}”)" if classes else "",
            "multiclass": f"probabilities of the classes {classes}",
            "multilabel": f"a probability for each of {classes}",
            "regression": "a number",
        }
        return f"{summary.target}: {kinds.get(summary.task) or summary.task}."

    def model_type(self) -> str:
        """Encoder, weights and method."""
        p = self.provenance
        return (
            f"{method_name(self.result.kind)[:1].upper()}{method_name(self.result.kind)[1:]} on the encoder "
            f"{p.get('encoder', 'encoder')} (weights: {p.get('weights_kind', 'unknown')}; fingerprint "
            f"{p.get('fingerprint', 'unknown')}), protocol {self.result.protocol.id}."
        )

    def building(self) -> str:
        """Encoder, weights, method and, of a survival analysis, how its model is fitted and chosen."""
        return " ".join(filter(None, (self.model_type(), survival_building(self.result))))

    def data(self) -> str:
        """Cohort, sizes, synthetic or not."""
        p, s = self.provenance, self.result.summary
        patients = count(s.n_patients, "patient") if s.patients_known else "patients unknown"
        synthetic = " The records are synthetic." if p.get("synthetic") else ""
        return (
            f"Cohort “{p.get('cohort', 'cohort')}” (table digest {p.get('cohort_digest', 'unknown')}); tested on "
            f"{count(s.n_records, 'record')} of {patients}.{synthetic}"
        )

    def flow(self) -> str | None:
        """Asked, left out, used, by part."""
        entry = self.people
        if not entry:
            return None
        lost = "; ".join(f"{count(e['records'], 'record')} left out: {e['reason']}" for e in entry["excluded"])
        parts = ", ".join(f"{p['name']} {_size(p)}" for p in entry["parts"])
        return f"{_size(entry['asked'])} in the table; {lost or 'none left out'}; used: {parts}."

    def missing(self) -> str | None:
        """Records without label, unreadable, and characteristics not known."""
        entry = self.people
        if not entry:
            return None
        lost = [f"{count(e['records'], 'record')}: {e['reason']}" for e in entry["excluded"]]
        gaps = sorted({row["variable"] for row in entry["rows"] if row["level"] in (MISSING, "unknown")})
        return (
            f"Left out: {'; '.join(lost) or 'none'}. Nothing is imputed; characteristics with gaps: "
            f"{', '.join(gaps) or 'none'}."
        )

    def headline(self) -> str:
        """Every headline figure with its interval."""
        s = self.result.summary
        return "; ".join(sentence(e, s.patients_known) for e in s.headline) + "."

    def intervals(self) -> str:
        """How the figures and intervals were made."""
        methods = sorted({e.method for e in self.result.summary.headline if e.method})
        names = ", ".join(word(e.metric).title for e in self.result.summary.headline)
        return f"{names}. Intervals: {'; '.join(methods) or 'none'}."

    def calibration(self) -> str | None:
        """Brier score, calibration error, slope and intercept with intervals; of absolute risks at the horizon."""
        c = self.result.summary.calibration
        if c is None:
            return self._risk_calibration()
        parts = [f"Brier score {with_interval(c.brier)}", f"expected calibration error {with_interval(c.ece)}"]
        if c.slope is not None and c.intercept is not None:
            parts.append(f"slope {value_with_ends(c.slope, c.slope_interval)}")
            parts.append(f"intercept {value_with_ends(c.intercept, c.intercept_interval)}")
        return "Calibration: " + ", ".join(parts) + "."

    def _risk_calibration(self) -> str | None:
        """Calibration of a survival analysis' absolute risk; ``None`` where there is none."""
        survival = self.result.extras.get("survival") or {}
        found = survival.get("absolute")
        if not found:
            return None
        estimates = [Estimate(**entry) for entry in found["figures"]]
        parts = ", ".join(f"{word(e.metric).title} {with_interval(e)}" for e in estimates)
        unit = f" {survival['unit']}" if survival.get("unit") else ""
        return f"Calibration of the risk by {found['horizon']:g}{unit}: {parts}."

    def groups(self) -> list[tuple[str, str, Estimate]]:
        """Column, group and figure of the groups that are large enough to be shown."""
        s = self.result.summary
        return [(r.column, r.value, e) for r in (*s.sites, *s.subgroups) if not r.suppressed for e in r.estimates]

    def fairness(self) -> str | None:
        """Groups looked at, and gaps."""
        s = self.result.summary
        columns = sorted({r.column for r in (*s.sites, *s.subgroups)})
        if not columns:
            return None
        gaps = "; ".join(f"{word(g.metric).title} by {g.column} {gap_figure(g)}" for g in s.gaps if g.value is not None)
        smallest = self.result.protocol.statistics.minimum_cell
        return (
            f"Figures by {', '.join(columns)}, groups below {smallest} hidden."
            f"{f' Largest differences: {gaps}.' if gaps else ''}"
        )

    def scheme(self) -> str:
        """How records were divided."""
        scheme = self.result.protocol.to_dict()["scheme"]
        said = ", ".join(f"{k.replace('_', ' ')}: {_yes(v)}" for k, v in scheme.items() if isinstance(v, (str, int)))
        if scheme.get("kind") == "split" or (scheme.get("kind") == "split_or_kfold" and self._split_was_used()):
            # the other settings are of folds
            said = "the column 'split' of the table, seed: " + str(scheme.get("seed"))
        known = "" if self.result.summary.patients_known else " Patients are unknown: every record counts as one."
        seeds = ", ".join(f"{k} {v}" for k, v in (self.provenance.get("seeds") or {}).items())
        return f"Scheme ({said}).{known} Seeds: {seeds or 'none'}."

    def _split_was_used(self) -> bool:
        """Whether records were divided by the table's own column: the parts say so."""
        return any(part["name"] == "train" for part in (self.people or {}).get("parts", ()))

    def threshold(self) -> str | None:
        """The decision threshold, and how it was chosen; ``None`` where nothing is decided."""
        found = (self.result.extras.get("finetune") or {}).get("threshold")
        if found:
            return f"Decision threshold {figure(found['value'])}, chosen: {found['chosen']}."
        return {
            "linear_probe": {
                "binary": "Decision threshold 0.5, not chosen on any data.",
                "multiclass": "The class with the largest probability is decided for.",
                "multilabel": "Decision threshold 0.5 for each label, not chosen on any data.",
            },
        }.get(self.result.kind, {}).get(self.result.summary.task)

    def sites(self) -> str | None:
        """The first figure of each site; ``None`` where no site has one."""
        rows = [r for r in self.result.summary.sites if not r.suppressed and r.estimates]
        if not rows:
            hidden, smallest = len(self.result.summary.sites), self.result.protocol.statistics.minimum_cell
            if not hidden:
                return None
            return f"{count(hidden, 'site')}, none large enough for figures of its own ({smallest} tested patients)."
        return (
            "; ".join(f"{r.value}: {word(r.estimates[0].metric).title} {with_interval(r.estimates[0])}" for r in rows)
            + "."
        )

    def checks(self) -> str:
        """Which checks failed."""
        failed = [f for f in self.result.findings if f.severity in ("error", "warning")]
        passed = sum(f.severity == "passed" for f in self.result.findings)
        said = "; ".join(f"{f.code} {f.title}{' (allowed by the user)' if f.allowed else ''}" for f in failed)
        return f"{count(passed, 'check')} of the data passed.{f' Not passed: {said}.' if said else ''}"

    def batch(self) -> str | None:
        """How far the site shows in the embedding."""
        found = self.result.batch_effect
        if found is None or found.balanced_accuracy is None:
            return None
        return (
            f"The {found.column} can be told from the embedding with balanced accuracy "
            f"{with_interval(found.balanced_accuracy)} (guessing: {figure(found.chance)})."
        )


def _yes(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _size(part: Mapping[str, Any]) -> str:
    records = count(part["records"], "record")
    return records if part["patients"] is None else f"{records} of {count(part['patients'], 'patient')}"
