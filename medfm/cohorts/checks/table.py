"""Checks that need the table alone: T, the table part of L, and S."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from medfm.cohorts.checks.codes import count, found, named, passed, planned_folds
from medfm.cohorts.checks.labels import check_filled, check_labels, counted
from medfm.cohorts.checks.people import check_spelling, is_free_text
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding, Severity
from medfm.modalities.registry import get_modality

# Fewer records than this in a class (per tested part) give intervals too wide to read.
TINY_CLASS = 10


# One column, or the 0/1 columns of a multilabel task.
Target = str | Sequence[str]


def check_table(cohort: Cohort, target: Target | None) -> Iterator[Finding]:
    """T001 to T005."""
    table = cohort.table
    doubled = table.loc[table["record_id"].duplicated(), "record_id"]
    if len(doubled):
        yield found("T001", "error", f"{count(len(doubled), 'record id')} appear more than once", doubled)
    else:
        yield passed("T001", count(len(table), "record"))
    if cohort.patients_known:
        yield passed("T002", f"{count(table['patient_id'].nunique(), 'patient')}")
    else:
        yield found(
            "T002",
            "warning",
            "no patient column was given: every record (or image, where cells are cut by boxes) counts as a patient, "
            "so intervals may be too narrow and a patient may be on both sides of a split",
        )
    if target is not None and not isinstance(target, str):
        yield check_filled(cohort, target)
    elif target is not None:
        gone = cohort.column(target).isna()
        if gone.all():
            yield found("T003", "error", f"'{target}' is empty in every record")
        elif gone.any():
            ids = table.loc[gone, "record_id"]
            yield found("T003", "warning", f"'{target}' is empty in {count(int(gone.sum()), 'record')}", ids)
        else:
            yield passed("T003", f"'{target}'")
    unset = table["split"].isna()
    if unset.any():
        what = "no record has one" if unset.all() else f"{count(int(unset.sum()), 'record')} have none"
        severity: Severity = "info" if unset.all() else "warning"
        yield found("T004", severity, what, () if unset.all() else table.loc[unset, "record_id"])
    else:
        sizes = table["split"].value_counts()
        yield passed("T004", ", ".join(f"{s} {sizes[s]:,}" for s in ("train", "val", "test") if s in sizes))
    yield _listed_twice(cohort, target)


def _listed_twice(cohort: Cohort, target: Target | None) -> Finding:
    table = cohort.table
    columns = ["path", *(c for c in get_modality(cohort.modality).option_columns if c in table.columns)]
    twice = table.duplicated(columns, keep=False)
    if not twice.any():
        return passed("T005")
    groups = table[twice].groupby(columns, dropna=False)
    split_by = (groups["split"].nunique(dropna=False) > 1).any()
    names = [] if target is None else [target] if isinstance(target, str) else list(target)
    labels = any((groups[name].nunique() > 1).any() for name in names)
    extra = " with different labels" if labels else " in different splits" if split_by else ""
    severity: Severity = "error" if labels or split_by else "warning"
    detail = f"{count(int(twice.sum()), 'row')} share a file{extra}"
    return found("T005", severity, detail, table.loc[twice, "record_id"])


def check_groups(cohort: Cohort, target: Target | None, training_data: tuple[str, ...]) -> Iterator[Finding]:
    """L001, L006, L007, L008, L009: leakage that the table alone, or its YAML, shows."""
    for code, column, noun in (("L001", "patient_id", "patient"), ("L006", "study_id", "study")):
        if column in cohort.table.columns:
            yield _crosses(cohort, code, column, noun)
    if isinstance(target, str):
        yield _label_in_path(cohort, target)
    if training_data:
        yield _overlap(cohort, training_data)
    copies = cohort.info.get("copies")
    if copies:
        yield _augmented(cohort, str(copies))


def _augmented(cohort: Cohort, how: str) -> Finding:
    """L009 for a cohort whose YAML says that its records are augmented copies."""
    if cohort.patients_known:
        return passed("L009", f"{how}; the copies are grouped by patient_id")
    detail = f"{how}; which copies belong together is not in this table, so no split keeps them on one side"
    return found("L009", "warning", detail)


def _crosses(cohort: Cohort, code: str, column: str, noun: str) -> Finding:
    table = cohort.table[["record_id", column, "split"]].dropna()
    groups = table.groupby(column)["split"].nunique()
    crossing = groups[groups > 1].index
    plural = "studies" if noun == "study" else f"{noun}s"
    if len(crossing) == 0:
        return passed(code, f"{len(groups):,} {plural}" if cohort.patients_known else "patients are not known")
    rows = table[table[column].isin(crossing)]
    kinds = " and ".join(sorted({str(v) for v in rows["split"]}))
    detail = f"{len(crossing):,} of {len(groups):,} {plural} are in more than one split ({kinds})"
    return found(code, "error", detail, rows["record_id"])


def _label_in_path(cohort: Cohort, target: str) -> Finding:
    labels = cohort.table[target].astype(str).map(_key)
    paths = cohort.table["path"].map(_key_path)
    hit = [bool(label) and f"/{label}/" in path for label, path in zip(labels, paths, strict=True)]
    if cohort.table[target].nunique() < 2 or sum(hit) < 0.5 * len(hit):
        return passed("L007")
    detail = (
        f"{sum(hit):,} of {len(hit):,} paths contain the value of '{target}' (folders named by class are usual); it "
        "matters only where a path is an input, a sort key or a way to split"
    )
    return found("L007", "info", detail)


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def _key_path(path: str) -> str:
    """The folders and the words of the file name, each reduced to letters and digits."""
    folders, _, name = path.rpartition("/")
    words = re.split(r"[_\-. ]+", name)
    return "/" + "/".join(_key(part) for part in (*folders.split("/"), *words)) + "/"


def _overlap(cohort: Cohort, training_data: tuple[str, ...]) -> Finding:
    from medfm.cohorts.adapters import all_aliases

    where = cohort.info.get("where", {})
    own = {str(cohort.info.get(key, "")) for key in ("adapter", "source", "task", "name")}
    # A filter may name the set; a class or a view that it names is none.
    own |= {cohort.name, *(str(value) for column, value in where.items() if column.lower() in _SET_COLUMNS)}
    names = {bare for name in own if len(_key(bare := name.partition("@")[0])) > 2}
    # A cohort that bears one name of a public set bears all of them.
    for aliases in all_aliases():
        if {_key(alias) for alias in aliases} & {_key(name) for name in names}:
            names |= set(aliases)
    hits = [name for name in training_data if any(_same_set(name.partition(" (")[0], mine) for mine in names)]
    if hits:
        detail = f"the encoder's training data name {', '.join(sorted(hits))}"
        if all(" (split " in name for name in hits) and not cohort.table["split"].isna().all():
            detail += "; figures of another split are of records that it has not seen, figures of folds are not"
        return found("L008", "warning", detail)
    return passed("L008", f"none of {count(len(training_data), 'named set')} matches the cohort's name")


_SET_COLUMNS = ("task", "dataset", "data_set", "database", "source", "collection", "cohort", "study", "name")
# Words that many sets bear and that name none.
_COMMON = frozenset(
    [
        "chest",
        "xray",
        "xrays",
        "cxr",
        "radiograph",
        "radiographs",
        "pneumonia",
        "covid19",
        "ecg",
        "ecgs",
        "heart",
        "rhythm",
        "blood",
        "cell",
        "cells",
        "rbc",
        "wbc",
        "retina",
        "fundus",
        "eye",
        "brain",
        "mri",
        "scan",
        "scans",
        "tissue",
        "patch",
        "patches",
        "slide",
        "slides",
        "pathology",
        "histopathology",
        "data",
        "dataset",
        "database",
        "set",
        "image",
        "images",
        "picture",
        "pictures",
        "record",
        "records",
        "label",
        "labels",
        "table",
        "train",
        "val",
        "test",
        "validation",
        "training",
        "all",
        "cohort",
        "study",
        "site",
        "hospital",
        "clinic",
        "patients",
        "normal",
        "demo",
        "published",
        "small",
        "large",
        "lung",
        "colon",
        "skin",
    ]
)


def _same_set(theirs: str, mine: str) -> bool:
    """Whether one name is the other, or whole words of it that are more than common ones ("Chula RBC-12", "Chula")."""
    for short, long in ((theirs, mine), (mine, theirs)):
        key, words = _key(short), [word for word in re.split(r"[^a-z0-9]+", long.lower()) if word]
        if len(key) < 3 or all(word in _COMMON for word in re.split(r"[^a-z0-9]+", short.lower()) if word):
            continue
        if key in {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}:
            return True
    return False


def check_classes(cohort: Cohort, target: Target, folds: int) -> Iterator[Finding]:
    """S001 to S006, for a categorical or a multilabel target; nothing for a continuous one."""
    if not isinstance(target, str):
        yield from check_labels(cohort, target, folds, TINY_CLASS)
        return
    table = cohort.table.dropna(subset=[target])
    if table.empty or is_continuous(table[target]):
        return
    labels = table[target].astype(str)
    if not pd.api.types.is_numeric_dtype(table[target]):
        yield check_spelling(labels, table["record_id"])
        if is_free_text(labels):
            return  # the others would list every record
    parts = {"all records": labels, **{s: labels[table["split"] == s] for s in ("train", "test")}}
    single = [name for name, values in parts.items() if len(values) and values.nunique() < 2]
    if single:
        yield found("S001", "error", f"only one class ('{parts[single[0]].iloc[0]}') in {', '.join(single)}")
    else:
        yield passed("S001", f"{labels.nunique()} classes")
    whole_test = "test" in set(table["split"].dropna())
    trained = table[table["split"] == "train"] if whole_test and (table["split"] == "train").any() else table
    patients = trained.groupby(trained[target].astype(str))["patient_id"].nunique()
    few = patients[patients < folds]
    if len(few):
        listed = counted({str(name): int(n) for name, n in few.items()})
        yield found("S002", "warning", f"fewer than {folds} patients{planned_folds(folds, whole_test)}: {listed}")
    else:
        least = int(patients.min())
        yield passed("S002", f"at least {count(least, 'patient')} in every class{planned_folds(folds, whole_test)}")
    sizes = (labels[table["split"] == "test"] if whole_test else labels).value_counts()
    tiny = sizes[sizes < TINY_CLASS]
    place = "test split" if whole_test else "cohort"
    if len(tiny):
        listed = counted({str(name): int(n) for name, n in tiny.items()})
        yield found("S003", "warning", f"fewer than {TINY_CLASS} records in the {place}: {listed}")
    else:
        yield passed("S003", f"at least {int(sizes.min())} records per class in the {place}")
    if whole_test and len(parts["train"]):
        unseen = sorted(set(parts["test"]) - set(parts["train"]))
        if unseen:
            yield found("S004", "warning", f"in test but not in train: {named(unseen)}")
        else:
            yield passed("S004")
    yield from _tied_to_site(table, labels)


def _tied_to_site(table: pd.DataFrame, labels: pd.Series) -> Iterator[Finding]:
    if table["site"].nunique() < 2:
        return
    sites = table["site"].groupby(labels).nunique()
    tied = sorted(str(name) for name in sites[sites == 1].index)
    if tied:
        yield found("S005", "warning", f"only at one site: {named(tied)}")
    else:
        yield passed("S005", f"{table['site'].nunique()} sites")


def is_continuous(values: pd.Series) -> bool:
    """Whether a target is a quantity rather than a class: numbers with fractions or many values."""
    present = values.dropna()
    if present.empty or not pd.api.types.is_numeric_dtype(present) or pd.api.types.is_bool_dtype(present):
        return False
    return bool((present % 1 != 0).any() or present.nunique() > 20)
