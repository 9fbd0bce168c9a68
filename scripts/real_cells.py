"""The table of the README: three encoders on three small sets of real blood cells, in pairs.

    python scripts/real_cells.py ../shared/data/blood_cell --out runs/real

Trains ``dinov2-tiny`` without labels on the train splits, probes the untrained network, the
trained one and the colour histogram under ``linear-probe@1``, saves every result with its report,
and prints a Markdown table with paired differences to the untrained network. Nothing here is a
published model.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd

import medfm
from medfm.core.progress import for_people

TASKS = ("pbc_cell", "bccd_cell", "chula_rbc12")
METRIC = "balanced_accuracy"


def cohort_of(folder: Path, task: str) -> medfm.Cohort:
    return medfm.load_cohort(
        folder / "labels.csv",
        modality="blood_cell",
        map={"patient_id": "source_id"},
        where={"task": task},
        name=task,
    )


def shown(result: medfm.Result) -> str:
    found = result.summary.estimate(METRIC)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    arguments = parser.parse_args()

    cohorts = {task: cohort_of(arguments.data, task) for task in TASKS}
    trained = arguments.out / "encoder"
    if not (trained / "card.md").is_file():
        first = cohorts[TASKS[0]]
        union = replace(
            first, table=pd.concat([c.table for c in cohorts.values()], ignore_index=True), name="real-cells"
        )
        medfm.pretrain(union, "dinov2-tiny", trained, progress=for_people)
    encoders = {
        "color-histogram": medfm.load_encoder("color-histogram"),
        "dinov2-tiny, untrained": medfm.load_encoder("dinov2-tiny", weights="random"),
        "dinov2-tiny, trained here": medfm.load_encoder(trained),
    }
    rows = []
    for task, cohort in cohorts.items():
        results = {}
        for title, encoder in encoders.items():
            embeddings = medfm.embed(encoder, cohort, progress=for_people)
            result = medfm.linear_probe(embeddings, cohort, "label", name=f"{task}: {title}")
            result.save(
                arguments.out / task / title.replace(", ", "-").replace(" ", "-"), overwrite=True, images=cohort
            )
            results[title] = result
        untrained = results["dinov2-tiny, untrained"]
        against = medfm.compare(untrained, results["dinov2-tiny, trained here"], metrics=[METRIC])
        row = against.to_dict()["rows"][0]
        difference = f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        cells = [shown(results[title]) for title in encoders]
        rows.append(f"| {task} ({untrained.summary.n_records}) | {' | '.join(cells)} | {difference} |")
    print(f"| set (n test) | {' | '.join(encoders)} | trained minus untrained, paired |")
    print("|---" * (len(encoders) + 2) + "|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
