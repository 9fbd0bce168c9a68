"""Real fundus photographs and tissue patches: what colour alone reaches, and what untrained networks do.

    python scripts/real_pictures.py ../shared/data --out runs/pictures

Probes ``color-histogram`` and an untrained network (ResNet-50 for the retina, QuiltNet-B/32 for
tissue) under ``linear-probe@1`` on the IDRiD grades, on referable retinopathy and on the LC25000
lung patches, saves every result with its report, and prints one Markdown table, with the baseline
that the README beside the data states. ``--flair`` adds FLAIR's untrained network at 512 pixels,
which takes most of the time. Nothing here is a published model: no weights are read.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import medfm
from medfm.core.progress import for_people

COLOUR, FLAIR = "color-histogram", "flair-resnet50-pooled"
UNTRAINED = {"retina": ("imagenet-resnet50",), "histopathology": ("quiltnet-b-32",)}
ACCURACY = "balanced_accuracy"


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
    if found.low is None or found.high is None:
        return f"{found.value:.3f} (no interval)"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def rows_of(task: Task, data: Path, out: Path, encoders: Sequence[str]) -> list[str]:
    """The lines of `task`: the stated baseline, then each of `encoders` (ids) probed; reports under `out`."""
    folder = data / task.modality
    cohort = medfm.load_cohort(
        folder / "labels.csv",
        modality=task.modality,
        map={"patient_id": "source_id"},
        where={"task": task.where},
        name=task.title,
    )
    metrics = (ACCURACY, task.auroc)
    readme = (folder / "README.md").read_text(encoding="utf-8") if (folder / "README.md").is_file() else ""
    stated = [stated_baseline(task, metric, readme) for metric in metrics]
    lines = [f"| {task.title} | stated beside the data | {' | '.join(stated)} |"]
    for encoder_id in encoders:
        title = encoder_id if encoder_id == COLOUR else f"{encoder_id}, untrained"
        encoder = medfm.load_encoder(encoder_id, weights=None if encoder_id == COLOUR else "random")
        embeddings = medfm.embed(encoder, cohort, progress=for_people)
        result = medfm.linear_probe(embeddings, cohort, task.target, name=f"{task.title}: {title}")
        place = re.sub(r"[^a-z0-9]+", "-", f"{task.where}-{task.target}-{encoder_id}".lower())
        result.save(out / place, overwrite=True, images=cohort)
        lines.append(f"| {task.title} | {title} | {' | '.join(shown(result, metric) for metric in metrics)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds retina/ and histopathology/")
    parser.add_argument("--out", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--flair", action="store_true", help="also FLAIR's untrained network on the retina")
    parser.add_argument("--modality", choices=tuple(UNTRAINED), help="only the tasks of this modality")
    arguments = parser.parse_args()
    print("| task | what | balanced accuracy | AUROC (several classes: one against the rest) |")
    print("|---|---|---|---|", flush=True)
    for task in TASKS:
        if arguments.modality in (None, task.modality):
            more = (FLAIR,) if arguments.flair and task.modality == "retina" else ()
            lines = rows_of(task, arguments.data, arguments.out, (COLOUR, *UNTRAINED[task.modality], *more))
            print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
