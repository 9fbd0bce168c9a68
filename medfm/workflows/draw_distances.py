"""How far the features of drawn scans lie from those of real ones, as distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import EvaluationError, ReadError
from medfm.encoders.encoder import Encoder
from medfm.evaluation.distribution_distance import distance_estimates
from medfm.evaluation.protocol import StatisticsPlan
from medfm.modalities.record import Record
from medfm.workflows.drawing_scans import Scan, prepared

REAL = "real"
_FEWEST = 5  # records on both sides; below this neither figure says anything


class Features:
    """Features of volumes, set by set.

    Real and drawn volumes go the same way: as a scan on the grid of the drawing encoder through the
    preprocessing of the encoder that judges, so that resolution plays no part.

    Args:
        encoder: Judges; should have had no part in drawing.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._values: dict[str, list[np.ndarray]] = {}
        self._patients: dict[str, list[str]] = {}
        self.left_out: dict[str, int] = {}

    def add(self, name: str, scans: Sequence[Scan], volumes: Tensor) -> None:
        """Features of volumes (n, 1, i, j, k) in the axes of the files of `scans`; empty ones are counted and left out."""
        for scan, volume in zip(scans, volumes, strict=True):
            facts = {"affine": scan.affine, "spacing_mm": np.linalg.norm(scan.affine[:3, :3], axis=0).tolist()}
            record = Record(scan.record_id, "brain_mri", volume[0].float().cpu().numpy(), facts)
            try:
                batch, _ = prepared(self.encoder, record)
            except ReadError:
                self.left_out[name] = self.left_out.get(name, 0) + 1
                continue
            with torch.inference_mode():
                code = self.encoder(batch)[0].float().cpu().double().numpy()
            if not np.isfinite(code).all():
                self.left_out[name] = self.left_out.get(name, 0) + 1
                continue
            self._values.setdefault(name, []).append(code)
            self._patients.setdefault(name, []).append(scan.patient_id)

    def distances(self, plan: StatisticsPlan, own: bool) -> dict[str, Any]:
        """MMD^2 and Fréchet distance of every set from the real one, for a report; ``why_not`` where there are none.

        Args:
            plan: Resamples (at most 200), seed, level.
            own: Whether the judging encoder drew the volumes itself.
        """
        about: dict[str, Any] = {"encoder": self.encoder.id, "own": own, "dim": self.encoder.embedding_dim}
        real = self._values.get(REAL, [])
        if len(real) < _FEWEST:
            return {**about, "why_not": f"{len(real)} real scans are too few ({_FEWEST} at least)"}
        rows: list[dict[str, Any]] = []
        for name, values in self._values.items():
            if name == REAL:
                continue
            left_out = self.left_out.get(name, 0)
            if len(values) < _FEWEST:
                rows.append({"variant": name, "left_out": left_out, "why_not": "too few drawn scans"})
                continue
            try:
                found = distance_estimates(
                    np.stack(real),
                    np.stack(values),
                    real_patients=np.array(self._patients[REAL]),
                    other_patients=np.array(self._patients[name]),
                    resamples=min(plan.resamples, 200),
                    seed=plan.seed,
                    level=plan.level,
                )
            except EvaluationError as error:
                rows.append({"variant": name, "left_out": left_out, "why_not": error.what})
                continue
            rows.append({"variant": name, "left_out": left_out, **{e.metric: e.to_dict() for e in found}})
        return {**about, "records": len(real), "rows": rows}
