"""The best, the middle and the worst drawn scan of a result, as sheets for its report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from medfm.core.errors import MedfmError
from medfm.evaluation.predictions import MAIN
from medfm.evaluation.similarity_config import Interpolation, Reconstruction
from medfm.evaluation.similarity_metrics import blended
from medfm.reporting.volume_sheets import Sheet, Shown, strip
from medfm.workflows.draw_interpolation import encoded
from medfm.workflows.draw_reconstruction import AUTOENCODER, Drawn, drawings
from medfm.workflows.drawing_scans import Scan, finite, read_scan
from medfm.workflows.latent_diffusion import Codes, LatentDiffusionAutoencoder

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort

logger = logging.getLogger(__name__)
ROLES = ("best", "median", "worst")


def picked(table: pd.DataFrame, column: str) -> list[tuple[str, pd.Series]]:
    """Role and row of the records with the highest, the middle and the lowest value; each record once."""
    ordered = table.sort_values([column, "record_id"], ascending=[False, True], kind="stable").reset_index(drop=True)
    places = {"best": 0, "median": (len(ordered) - 1) // 2, "worst": len(ordered) - 1}
    taken: dict[int, str] = {}
    for role in ("best", "worst", "median"):
        taken.setdefault(places[role], role)
    return [(taken[place], ordered.iloc[place]) for place in sorted(taken)]


def reconstruction_pictures(
    system: LatentDiffusionAutoencoder, cohort: Cohort, method: Reconstruction, done: Drawn
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """SVG files by record id, and what each shows; a record that cannot be drawn again is left out, and logged."""
    main = done.predictions.of_variant(MAIN).table
    rows = {record_id: row for row, record_id in enumerate(cohort.record_ids)}
    files, about = {}, []
    for role, row in picked(main, "ssim"):
        name = str(row["record_id"])
        try:
            scan = read_scan(system.encoder, cohort, rows[name])
            files[name] = reconstruction_sheet(system, scan, method, cohort.synthetic).svg().encode()
        except MedfmError as error:
            logger.warning("no picture of record %s: %s", name, error)
            continue
        about.append({"record_id": name, "role": role, "ssim": float(row["ssim"]), "mse": float(row["mse"])})
    return files, about


def reconstruction_sheet(
    system: LatentDiffusionAutoencoder, scan: Scan, method: Reconstruction, synthetic: bool = False
) -> Any:
    """The scan, the autoencoder's version, and what the last number of steps draws, with their differences from it."""
    last = method.model_copy(update={"steps": method.steps[-1:]})
    true = system.volume(scan.batch).cpu()[0, 0].numpy()
    made = {name: volumes[0, 0].numpy() for name, volumes in drawings(system, [scan], last)}
    steps = method.steps[-1]
    titles = {
        AUTOENCODER: "autoencoder\nalone",
        MAIN: f"both codes\n{steps} steps",
        f"semantic, steps={steps}": f"semantic code\n{steps} steps",
    }
    columns = [Shown("scan\n ", true)]
    columns += [Shown(title, made[name], made[name] - true) for name, title in titles.items() if name in made]
    sheet = Sheet(scan.record_id, scan.affine, scan.sides_known, "drawn minus scan", synthetic=synthetic)
    return strip(columns, sheet)


def interpolation_pictures(
    system: LatentDiffusionAutoencoder, cohort: Cohort, method: Interpolation, done: Drawn
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """As :func:`reconstruction_pictures`, of predicted visits; best and worst by the SSIM against the scan."""
    main = done.predictions.of_variant(MAIN).table
    files, about = {}, []
    for role, row in picked(main, "scan_ssim"):
        name = str(row["record_id"])
        try:
            scans = [read_scan(system.encoder, cohort, int(row[c])) for c in ("start_row", "target_row", "end_row")]
            codes, true, _ = encoded(system, scans, method, 1)
            drawn = between(system, codes, float(row["share"]), scans[1], method.steps)
        except MedfmError as error:
            logger.warning("no picture of visit %s: %s", name, error)
            continue
        volumes = [volume[0].numpy() for volume in true]
        gap, share = float(row["time_gap"]), float(row["share"])
        times = (0.0, share * gap, gap)
        sheet = Sheet(
            name, scans[1].affine, scans[1].sides_known, "minus the true visit in between", synthetic=cohort.synthetic
        )
        files[name] = interpolation_sheet(volumes, drawn, share, sheet, times).svg().encode()
        about.append(
            {
                "record_id": name,
                "role": role,
                "ssim": float(row["scan_ssim"]),
                "mse": float(row["scan_mse"]),
                "gap": gap,
            }
        )
    return files, about


def between(system: LatentDiffusionAutoencoder, codes: Codes, share: float, scan: Scan, steps: int | None) -> Any:
    """What lies at `share` between the first and the last of some codes, as an array (i, j, k)."""
    ends = [Codes(codes.semantic[i : i + 1], codes.stochastic[i : i + 1]) for i in (0, len(codes) - 1)]
    (made,) = system.interpolate(ends[0], ends[1], [share])
    return finite(system.decode(made, steps=steps), [scan], "a visit in between")[0, 0].numpy()


def interpolation_sheet(
    volumes: Sequence[Any], drawn: Any, share: float, sheet: Sheet, times: Sequence[float] = ()
) -> Any:
    """First visit, interpolated codes, true visit, blended images, last visit; below, what each lacks of the true one.

    Args:
        volumes: First, true and last visit (i, j, k).
        drawn: From interpolated codes.
        share: Place of the true visit between the others.
        sheet: The rest.
        times: Months of the three visits, where known.
    """
    first, true, last = volumes
    blend = blended(torch.from_numpy(first), torch.from_numpy(last), share).numpy()
    when = [f"month {t:g}" for t in times] if times else ["", f"share {share:g}", ""]
    titled = [
        (f"first visit\n{when[0]}", first),
        (f"from codes\n{when[1]}", drawn),
        (f"true visit\n{when[1]}", true),
        (f"blended images\n{when[1]}", blend),
        (f"last visit\n{when[2]}", last),
    ]
    columns = [Shown(title, volume, None if volume is true else volume - true) for title, volume in titled]
    return strip(columns, sheet)
