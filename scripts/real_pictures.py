"""Real fundus photographs and tissue patches: what colour alone reaches, and what untrained networks do.

    python scripts/real_pictures.py ../shared/data --out runs/pictures

Probes ``color-histogram`` and the untrained ``imagenet-resnet50`` under ``linear-probe@1`` on the
IDRiD grades, on referable retinopathy and on the LC25000 lung patches, saves every result with its
report, and prints a Markdown table beside the baseline that the data's README states. ``--own``
adds the untrained network of the modality's own model (FLAIR's at 512 pixels, QuiltNet-B/32).
Nothing here is a published model: no weights are read.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import medfm
from medfm.core.progress import for_people

UNTRAINED = "imagenet-resnet50"
OWN = {"retina": "flair-resnet50-pooled", "histopathology": "quiltnet-b-32"}
ACCURACY = "balanced_accuracy"
TITLES = {ACCURACY: "balanced accuracy", "auroc": "AUROC", "auroc_ovr_macro": "AUROC, one against the rest"}


@dataclass(frozen=True)
class Task:
    """One labelled task: where it is, and which words of the README beside the data state its baseline."""

    title: str
    modality: str
    where: str
    target: str
    auroc: str
    stated: Mapping[str, str] = field(default_factory=dict)


TASKS = (
    Task(
        "IDRiD, grade 0 to 4", "retina", "idrid_dr_grade", "label", "auroc_ovr_macro",
        {ACCURACY: r"grade balanced accuracy ([0-9.]+[0-9])"},
    ),
    Task(
        "IDRiD, referable", "retina", "idrid_dr_grade", "referable_dr", "auroc",
        {ACCURACY: r"referable ([0-9.]+[0-9])", "auroc": r"referable [0-9.]+, AUROC ([0-9.]+[0-9])"},
    ),
    Task(
        "LC25000 lung, 3 classes", "histopathology", "lc25000_lung", "label", "auroc_ovr_macro",
        {ACCURACY: r"balanced accuracy ([0-9.]+[0-9])"},
    ),
)  # fmt: skip


def stated_baseline(task: Task, metric: str, readme: str) -> str:
    """The figure that `readme` (the text beside the data) gives for colour histograms, or "not given"."""
    if metric not in task.stated:
        return "not given"
    found = re.search(task.stated[metric], readme.partition("## Simple baseline")[2])
    return found.group(1) if found else "not given"


def shown(result: medfm.Result, metric: str) -> str:
    found = result.summary.estimate(metric)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def rows_of(task: Task, data: Path, out: Path, encoders: Mapping[str, str]) -> list[str]:
    """Two lines of the table: `encoders` (title -> id) probed on `task`, results and reports under `out`."""
    folder = data / task.modality
    cohort = medfm.load_cohort(
        folder / "labels.csv",
        modality=task.modality,
        map={"patient_id": "source_id"},
        where={"task": task.where},
        name=task.title,
    )
    results = {}
    for title, encoder_id in encoders.items():
        weights = None if encoder_id == "color-histogram" else "random"
        embeddings = medfm.embed(medfm.load_encoder(encoder_id, weights=weights), cohort, progress=for_people)
        result = medfm.linear_probe(embeddings, cohort, task.target, name=f"{task.title}: {title}")
        place = re.sub(r"[^a-z0-9]+", "-", f"{task.where}-{task.target}-{encoder_id}".lower())
        result.save(out / place, overwrite=True, images=cohort)
        results[title] = result
    readme = (folder / "README.md").read_text(encoding="utf-8") if (folder / "README.md").is_file() else ""
    size = next(iter(results.values())).summary.n_records
    lines = []
    for metric in (ACCURACY, task.auroc):
        cells = [shown(result, metric) for result in results.values()]
        stated = stated_baseline(task, metric, readme)
        lines.append(f"| {task.title} ({size}) | {TITLES[metric]} | {stated} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds retina/ and histopathology/")
    parser.add_argument("--out", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--own", action="store_true", help="also the untrained network of each modality's own model")
    arguments = parser.parse_args()
    lines = []
    titles = ["color-histogram", f"{UNTRAINED}, untrained", *(["own model's network, untrained"] if arguments.own else [])]
    for task in TASKS:
        ids = ["color-histogram", UNTRAINED, *([OWN[task.modality]] if arguments.own else [])]
        lines += rows_of(task, arguments.data, arguments.out, dict(zip(titles, ids, strict=True)))
    print(f"| task (n test) | figure | stated beside the data | {' | '.join(titles)} |")
    print("|---" * (len(titles) + 3) + "|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
