"""CheXpert: 224,316 radiographs of Stanford with 14 observations that may be uncertain or not mentioned."""

from __future__ import annotations

import re
from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, find_folder
from medfm.cohorts.adapters.chest import (
    CHEXPERT,
    COMPETITION,
    IGNORE,
    ONES,
    UNKNOWN,
    ZEROS,
    ChestAdapter,
    observations,
    read_table,
    sex,
    years,
)
from medfm.core.errors import CohortError

_PLACE = re.compile(r"(train|valid|test)/(patient\d+)/(study\d+)/(view\d+_\w+)\.(?:jpg|png)$")


class Chexpert(ChestAdapter):
    """Tasks ``all`` (14 observations) and ``competition`` (5); the part read by radiologists is ``val``."""

    id = "chexpert"
    title = "CheXpert"
    aliases = ("CheX", "CheXpert-v1.0", "CheXpert-v1.0-small")
    layout = "train.csv, valid.csv and train/patient00001/study1/view1_frontal.jpg ..., valid/... (v1.0 or v1.0-small)"
    where = "stanfordmlgroup.github.io/competitions/chexpert (Stanford AIMI)"
    licence = "Stanford's research use agreement"
    citation = "Irvin J. et al., AAAI 2019, arXiv:1901.07031"
    tasks = ("all", "competition")
    variants = (UNKNOWN, IGNORE, ZEROS, ONES)
    patients = True
    columns = ("view", "age", "sex", "study_id", "frontal")
    expected = {"total": 223648, "train": 223414, "val": 234}
    unverified = ("the hidden test part (500 studies) is not read; counts per observation are not checked",)

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.labels = CHEXPERT if self.chosen_task == "all" else COMPETITION
        self.task = f"multilabel, {len(self.labels)} observations mined from reports"
        blank = "unknown" if self.labelling == UNKNOWN else "absent (0)"
        unsure = {UNKNOWN: "unknown", IGNORE: "unknown", ZEROS: "absent (0)", ONES: "present (1)"}[self.labelling]
        self.notes = (
            f"uncertain observations (-1) are {unsure}, observations that are not mentioned {blank}",
            "lateral views are rows of their own (--where frontal=1 leaves them out)",
        )

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """One row per view."""
        if splits is not None:
            return super().find(source, splits)
        folder = find_folder(source, "train.csv", "valid.csv")
        if folder is None:
            raise self.missing(source, "there are no train.csv and valid.csv")
        rows: list[Row] = []
        for name, part in (("train.csv", "train"), ("valid.csv", "val")):
            for line, cells in read_table(folder / name, ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT)):
                place = _PLACE.search(cells["Path"])
                if place is None:
                    raise CohortError("A path is not as published.", where=f"{name}, line {line}")
                file = folder / place.group(0)
                frontal = cells["Frontal/Lateral"] == "Frontal"
                rows.append(
                    {
                        "record_id": f"{place[2]}-{place[3]}-{place[4]}",
                        "path": file.relative_to(source).as_posix() if file.is_file() else None,
                        "patient_id": place[2],
                        "study_id": f"{place[2]}-{place[3]}",
                        "split": part,
                        "view": (cells["AP/PA"] or None) if frontal else "LL",
                        "frontal": int(frontal),
                        "age": years(cells["Age"]) or None,  # 0 stands for not known
                        "sex": sex(cells["Sex"]),
                        **observations(cells, self.labels, self.labelling, f"{name}, line {line}"),
                    }
                )
        return self.kept(rows)


CHEXPERT_SET = Chexpert()
