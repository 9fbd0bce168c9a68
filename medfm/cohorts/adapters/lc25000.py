"""LC25000: lung and colon tissue, 250 pictures per class blown up to 5,000 by turning and mirroring.

The copies of one original are grouped where the published grouping of LC25000-clean is named.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from medfm.cohorts.adapters.base import Found, Row, images_in, relative
from medfm.cohorts.adapters.ecg import read_csv
from medfm.cohorts.adapters.patches import PATHGEN, PatchAdapter
from medfm.core.errors import CohortError

EACH = 5_000
CLUSTERS = "final_clusters.csv"
CLEAN = "github.com/GeorgeBatch/LC25000-clean"
NOT_GROUPED = (
    "which copies belong together is not in the release: --splits takes the groups that others found "
    f"(the folder annotations of {CLEAN})"
)
GROUPED = (
    "patient_id is the group of copies of one original, as found with the encoder UNI and corrected by hand "
    "(LC25000-clean, Batchkala et al., DEMI at MICCAI 2024, commit c6c5539); split by patient, and copies stay together"
)
_LUNG, _COLON = ("lung_aca", "lung_n", "lung_scc"), ("colon_aca", "colon_n")


class Lc25000(PatchAdapter):
    """Tasks lung (3 classes) and colon (2); there is no official split."""

    id = "lc25000"
    title = "LC25000"
    aliases = ("LC25000-lung", "LC25000-colon", "lc25000_lung", "lc25000_colon")
    layout = "lung_image_sets/{lung_aca,lung_n,lung_scc}/*.jpeg and colon_image_sets/{colon_aca,colon_n}/*.jpeg"
    where = "github.com/tampapath/lung_colon_image_set"
    licence = "free for download and use by AI researchers, by its authors' words; no formal licence text"
    citation = "Borkowski A. A. et al., arXiv 1912.12142"
    task = "kind of lung tissue (3 classes) or colon tissue (2)"
    tasks = ("lung", "colon")
    class_names = {
        "lung@official": {code: code for code in _LUNG},
        "colon@official": {code: code for code in _COLON},
        "lung@quilt": dict(
            zip(_LUNG, ("lung adenocarcinoma", "benign lung", "lung squamous cell carcinoma"), strict=True)
        ),
        "colon@quilt": dict(zip(_COLON, ("colon adenocarcinoma", "benign colonic tissue"), strict=True)),
        "lung@pathgen": {
            "lung_n": "benign lung tissue",
            "lung_aca": "lung adenocarcinoma",
            "lung_scc": "lung squamous cell carcinomas",
        },
        "colon@pathgen": {"colon_n": "normal colon tissue", "colon_aca": "colon adenocarcinoma"},
    }
    unverified = ("the split of QuiltNet's figures: no split is written",)
    notes = (
        "a random split leaks: nearly every test picture then has a copy in training, and any figure is too high",
        "colour alone tells the classes apart to a large degree: compare with the color-histogram encoder",
        "slides and patients are not published",
    )
    copies = "every class is 250 pictures blown up to 5,000 by turning (up to 25 degrees) and mirroring"

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.expected = {**dict.fromkeys(self.names.values(), EACH), "total": EACH * len(self.names)}

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The patches of the task's folders; with the groups of copies where `splits` is LC25000-clean's annotations."""
        top = f"{self.chosen_task}_image_sets"
        folder = self.folder_with(source, top, why=f"there is no folder {top}")
        split = "test" if self.labelling == PATHGEN else None
        groups = None if splits is None else read_groups(splits, tuple(self.names))
        rows: list[Row] = []
        for code, name in self.names.items():
            place = folder / top / code
            for file in images_in(place) if place.is_dir() else []:
                row: Row = {"path": relative(file, source), "label": name, "split": split}
                if groups is not None:
                    row["patient_id"] = groups.get((code, file.stem))
                rows.append(row)
        if groups is None:
            return self.found(rows, len(rows), notes=(NOT_GROUPED,))
        alone = sum(row["patient_id"] is None for row in rows)
        if alone:
            raise CohortError(
                f"{alone:,} of {len(rows):,} patches are in no group of copies.",
                where=f"{splits} (--splits)",
                fix="name the folder annotations of LC25000-clean at the commit that its notes name",
            )
        return self.found(rows, len(rows), notes=(GROUPED,))


def read_groups(folder: Path, codes: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """(class, file name without ending) -> group of copies, from ``CLASS/**/final_clusters.csv`` below `folder`.

    Raises:
        CohortError: A class has no table, or a file is in two groups.
    """
    groups: dict[tuple[str, str], str] = {}
    for code in codes:
        tables = sorted((folder / code).rglob(CLUSTERS))
        if not tables:
            raise CohortError(
                f"There is no table of the copies of {code}.",
                where=f"{folder} (--splits)",
                expected=f"{code}/UNI/resize_only/{CLUSTERS}, as in the folder annotations of {CLEAN}",
            )
        for table in tables:
            where = table.relative_to(folder).as_posix()
            for line, cells in read_csv(table, where, ("cluster_label", "img_path")):
                name = PurePosixPath(cells["img_path"].replace("\\", "/"))
                group = f"{code}/{cells['cluster_label']}"
                if groups.setdefault((code, name.stem), group) != group:
                    raise CohortError(
                        f"{name.name} is in two groups of copies.",
                        where=f"{where}, line {line}",
                        fix="keep one table per class",
                    )
    return groups


LC25000 = Lc25000()
