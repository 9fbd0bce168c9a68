"""A visit drawn from the codes of an earlier and a later one, beside blended images; figures per predicted visit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medfm.core.errors import CohortError, EvaluationError, ReadError
from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Failure
from medfm.evaluation.missing_scans import MissingScan, missing_scans
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.similarity_config import Interpolation
from medfm.evaluation.similarity_metrics import blended, figure_names, figures, gains
from medfm.workflows.draw_reconstruction import CARRIED, Drawn, window_note
from medfm.workflows.drawing_scans import Scan, chosen_rows, finite, latents_of, read_scan
from medfm.workflows.latent_diffusion import Codes, LatentDiffusionAutoencoder

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort

_GAPS_NAMED = 8  # of those that occur, the most frequent
_TIMES = ("months", "session")
_MONTHS = re.compile(r"(?:ses-?)?m(\d+(?:\.\d+)?)", re.IGNORECASE)
_BASELINE = ("bl", "sc", "ses-bl", "baseline")
_PREFIXES = ("", "blend_", "blend_decoded_", "gain_", "gain_decoded_")


def months_of(value: Any) -> float | None:
    """The months of a visit: a number, ``M06``, ``ses-M006`` or ``bl``; ``None`` where it is neither."""
    text = str(value).strip()
    if text.lower() in _BASELINE:
        return 0.0
    found = _MONTHS.fullmatch(text)
    try:
        months = float(found[1] if found else text)
    except ValueError:
        return None
    return months if math.isfinite(months) else None


def visits_of(cohort: Cohort, rows: Sequence[int], column: str | None) -> tuple[dict[str, dict[float, int]], list[str]]:
    """Patient -> months -> row, of the given rows; of several scans of a visit the first of the table counts.

    Raises:
        CohortError: There is no such column, or a time that cannot be read.
        EvaluationError: Patients are unknown.
    """
    if not cohort.patients_known:
        raise EvaluationError(
            "Visits belong to patients, and the cohort does not name them.",
            where=cohort.name,
            fix="--map patient_id=COLUMN",
        )
    if column is None:
        column = next((name for name in _TIMES if name in cohort.table.columns), _TIMES[0])
    times = cohort.column(column)
    found: dict[str, dict[float, int]] = {}
    doubles = 0
    for row in rows:
        month = months_of(times.iloc[row])
        if month is None:
            raise CohortError(
                f"The time '{times.iloc[row]}' of a visit is no number of months.",
                where=f"column '{column}', record {cohort.table['record_id'].iloc[row]}",
                expected="12, M12, ses-M012 or bl",
                fix="name another column with --set method.time=COLUMN, or leave these records out with --where",
            )
        own = found.setdefault(str(cohort.table["patient_id"].iloc[row]), {})
        doubles += month in own
        own.setdefault(month, row)
    said = [f"{doubles} repeated scans of a visit are left out; the first of the table counts."] if doubles else []
    return found, said


def run_interpolation(
    system: LatentDiffusionAutoencoder,
    cohort: Cohort,
    method: Interpolation,
    *,
    batch_size: int = 4,
    progress: ProgressMaker = Silent,
) -> Drawn:
    """Draw every visit that lies between two others, and blend the two images beside.

    The variants: ``main`` (all gaps) and ``gap=6`` and so on. A record is a predicted visit, named
    after the three scans.

    Args:
        system: The three networks.
        cohort: Brain MRI with patients and the months of their visits.
        method: Settings.
        batch_size: Volumes drawn together.
        progress: Shows the predicted visits.

    Raises:
        CohortError, EvaluationError: No times, no patient with three visits, or a volume that is not finite.
    """
    rows, said = chosen_rows(cohort, method)
    visits, doubled = visits_of(cohort, rows, method.time)
    triples: dict[str, list[MissingScan]] = {}
    for triple in missing_scans(visits):
        triples.setdefault(triple.subject_id, []).append(triple)
    if not triples:
        raise EvaluationError(
            "No patient among these records has three visits, so none lies between two others.",
            where=cohort.name,
            expected="three or more rows of one patient, each with its own time",
            fix="medfm data check shows the table; --set method.records=all takes every split",
        )
    failures: list[Failure] = []
    parts: list[pd.DataFrame] = []
    with progress("drawing", sum(map(len, triples.values())), "visits") as shown:
        for patient, own in triples.items():
            wanted = sorted({time for t in own for time in (t.start, t.target, t.end)})
            scans: dict[float, Scan] = {}
            for time in wanted:
                row = visits[patient][time]
                try:
                    scans[time] = read_scan(system.encoder, cohort, row)
                except ReadError as error:
                    failures.append(
                        Failure(str(cohort.table["record_id"].iloc[row]), " ".join(str(error.what).split()))
                    )
            kept = [t for t in own if all(time in scans for time in (t.start, t.target, t.end))]
            parts += _of_patient(system, cohort, scans, kept, method, batch_size)
            shown.advance(len(own))
    if not parts:
        raise EvaluationError("None of the visits could be read.", where=cohort.name)
    main = pd.concat(parts, ignore_index=True)
    table = pd.concat([main, *_by_gap(main, method)], ignore_index=True)
    names = tuple(f"{r}{p}{f}" for r in ("", "scan_") for p in _PREFIXES for f in figure_names(method.windows))
    notes = [
        "A record here is a visit that was predicted from an earlier and a later one of the same patient.",
        *said,
        *doubled,
        *_gaps_without_visits(main, method),
        window_note(method.windows),
    ]
    return Drawn(Predictions(table, "similarity", names, "scan"), failures, notes)


def _of_patient(
    system: LatentDiffusionAutoencoder,
    cohort: Cohort,
    scans: dict[float, Scan],
    triples: Sequence[MissingScan],
    method: Interpolation,
    batch_size: int,
) -> list[pd.DataFrame]:
    if not triples:
        return []
    times = list(scans)
    place = {time: i for i, time in enumerate(times)}
    codes, true, decoded = encoded(system, [scans[t] for t in times], method, batch_size)
    made = []
    for first in range(0, len(triples), batch_size):
        group = triples[first : first + batch_size]
        between = [
            system.interpolate(_one(codes, place[t.start]), _one(codes, place[t.end]), [t.share])[0] for t in group
        ]
        both = Codes(torch.cat([c.semantic for c in between]), torch.cat([c.stochastic for c in between]))
        targets = [scans[t.target] for t in group]
        drawn = finite(system.decode(both, steps=method.steps), targets, "a visit in between")
        made.append(_figures(cohort, scans, group, drawn, true, decoded, place, method))
    return made


def encoded(
    system: LatentDiffusionAutoencoder, scans: Sequence[Scan], method: Interpolation, batch_size: int
) -> tuple[Codes, Tensor, Tensor]:
    """Codes of scans, the prepared scans, and the autoencoder's versions of them, both (n, 1, i, j, k) on the CPU."""
    codes, true, decoded = [], [], []
    for first in range(0, len(scans), batch_size):
        group = scans[first : first + batch_size]
        batch = torch.cat([scan.batch for scan in group])
        latents = latents_of(system, group, method)
        codes.append(system.encode(batch, steps=method.steps, latent=latents))
        true.append(system.volume(batch).cpu())
        decoded.append(finite(system.volumes_of(latents), group, "the autoencoder"))
    joined = Codes(torch.cat([c.semantic for c in codes]), torch.cat([c.stochastic for c in codes]))
    return joined, torch.cat(true), torch.cat(decoded)


def _figures(
    cohort: Cohort,
    scans: dict[float, Scan],
    triples: Sequence[MissingScan],
    drawn: Tensor,
    true: Tensor,
    decoded: Tensor,
    place: dict[float, int],
    method: Interpolation,
) -> pd.DataFrame:
    def blend(of: Tensor) -> Tensor:
        return torch.stack([blended(of[place[t.start]], of[place[t.end]], t.share) for t in triples])

    values: dict[str, np.ndarray] = {}
    others = {"blend_": blend(true), "blend_decoded_": blend(decoded)}
    at = [place[t.target] for t in triples]
    for prefix, reference in (("", decoded[at]), ("scan_", true[at])):
        own = figures(drawn, reference, method.windows)
        values |= {f"{prefix}{name}": v for name, v in own.items()}
        for what, volumes in others.items():
            other = figures(volumes, reference, method.windows)
            values |= {f"{prefix}{what}{name}": v for name, v in other.items()}
            better = gains(own, other)
            values |= {f"{prefix}{what.replace('blend', 'gain')}{name}": v for name, v in better.items()}
    targets = [scans[t.target] for t in triples]
    carried = {
        c: cohort.table[c].iloc[[s.row for s in targets]].to_numpy() for c in CARRIED if c in cohort.table.columns
    }
    ids = [f"{scans[t.target].record_id} ({scans[t.start].record_id} to {scans[t.end].record_id})" for t in triples]
    return pd.DataFrame(
        {
            "record_id": ids,
            "patient_id": [scan.patient_id for scan in targets],
            "variant": MAIN,
            "repeat": 0,
            "fold": 0,
            "start_row": [scans[t.start].row for t in triples],
            "target_row": [scans[t.target].row for t in triples],
            "end_row": [scans[t.end].row for t in triples],
            "share": [t.share for t in triples],
            "position": [t.position for t in triples],
            "time_gap": [t.time_gap for t in triples],
            "prediction_gap": [t.prediction_gap for t in triples],
            **carried,
            **values,
        }
    )


def _by_gap(main: pd.DataFrame, method: Interpolation) -> list[pd.DataFrame]:
    column = "time_gap" if method.gap == "between" else "prediction_gap"
    parts = []
    for gap in method.gaps:
        near = (main[column] - gap).abs() <= method.gap_tolerance + 1e-9
        if near.any():
            parts.append(main[near].assign(variant=f"gap={gap:g}"))
    return parts


def _gaps_without_visits(main: pd.DataFrame, method: Interpolation) -> list[str]:
    """A note on the gaps of the protocol that no drawn visit belongs to, and on those that there are instead."""
    column = "time_gap" if method.gap == "between" else "prediction_gap"
    empty = [gap for gap in method.gaps if not ((main[column] - gap).abs() <= method.gap_tolerance + 1e-9).any()]
    if not empty:
        return []
    meant = "between the two given visits" if method.gap == "between" else "to the nearer visit"
    there = main[column].round(1).value_counts().head(_GAPS_NAMED)
    each = ", ".join(f"{gap:g} ({count})" for gap, count in sorted(there.items()))
    others = ",".join(f"{gap:g}" for gap in sorted(there.index))
    return [
        f"No drawn visit has a gap of {' or '.join(f'{gap:g}' for gap in empty)} months (the time {meant}, within "
        f"{method.gap_tolerance:g}). Gaps here (visits): {each}. Figures by these: --set method.gaps=[{others}]"
    ]


def _one(codes: Codes, index: int) -> Codes:
    return Codes(codes.semantic[index : index + 1], codes.stochastic[index : index + 1])
