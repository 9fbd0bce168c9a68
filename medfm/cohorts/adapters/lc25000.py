"""LC25000: lung and colon tissue, 250 pictures per class blown up to 5,000 by turning and mirroring."""

from __future__ import annotations

from pathlib import Path

from medfm.cohorts.adapters.base import Found, Row, find_folder, images_in, relative
from medfm.cohorts.adapters.patches import PATHGEN, PatchAdapter

EACH = 5_000
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
        "every class is 250 pictures blown up to 5,000 by turning and mirroring, and which copies belong together is "
        "not published: a random split leaks, and any figure from one is too high",
        "colour alone tells the classes apart to a large degree: compare with the color-histogram encoder",
        "patients are unknown",
    )

    def __init__(self, task: str | None = None, labelling: str | None = None) -> None:
        super().__init__(task, labelling)
        self.expected = {**dict.fromkeys(self.names.values(), EACH), "total": EACH * len(self.names)}

    def find(self, source: Path, splits: Path | None = None) -> Found:
        """The patches of the task's folders."""
        if splits is not None:
            return super().find(source, splits)
        top = f"{self.chosen_task}_image_sets"
        folder = find_folder(source, top)
        if folder is None:
            raise self.missing(source, f"there is no folder {top}")
        split = "test" if self.labelling == PATHGEN else None
        rows: list[Row] = []
        for code, name in self.names.items():
            place = folder / top / code
            rows += [
                {"path": relative(file, source), "label": name, "split": split}
                for file in (images_in(place) if place.is_dir() else [])
            ]
        return self.found(rows, len(rows))


LC25000 = Lc25000()
