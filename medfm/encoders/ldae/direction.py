"""Directions in semantic codes: from a probe's result folder, a file of our own, or the published head.

A direction file is JSON: ``weight`` and ``std`` (d numbers each), ``mean`` (d) and ``bias`` where a
score is wanted too, ``pattern`` (d) where known, ``towards`` (what a positive strength means),
``encoder`` and ``fingerprint``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from medfm.core.errors import WeightsError
from medfm.core.files import write_json
from medfm.encoders.ldae.head import LinearHead, load_head

Along = Literal["pattern", "weight"]
KEY = "direction"  # of a probe result's extras
_HEAD = ("disease_classifier.ckpt", "semantic_mean.pt", "semantic_std.pt")


@dataclass(frozen=True)
class Direction:
    """A linear head with what is known about it.

    Attributes:
        head: Moves codes; its score means something only where `scores` is true.
        towards: What a positive strength leads to, such as ``"AD"`` or ``"higher age"``.
        encoder: Id of the encoder whose codes it belongs to, where known.
        fingerprint: Of that encoder.
        scores: Whether mean and bias are known.
        pattern: (d,), the change of standardised codes that goes with the score
            (:func:`medfm.evaluation.patterns.pattern`), where known.
    """

    head: LinearHead
    towards: str = ""
    encoder: str = ""
    fingerprint: str = ""
    scores: bool = True
    pattern: Tensor | None = None

    def along(self, what: Along | None = None) -> LinearHead:
        """What moves codes: the head with its weight, or with the pattern in place of it.

        Args:
            what: ``weight`` (published), ``pattern``, or ``None``: the pattern where it is known.

        Raises:
            WeightsError: The pattern is asked for and not known.
        """
        if what == "weight" or (what is None and self.pattern is None):
            return self.head
        if self.pattern is None:
            raise WeightsError(
                "This direction has no pattern.",
                expected="a probe's result that holds one; the published head has weights only",
                fix="probe again, or move along the weights: --along weight",
            )
        return replace(self.head, weight=self.pattern)


def save_direction(direction: Direction, path: str | Path) -> Path:
    """Write a direction file.

    Raises:
        StoreError: The file cannot be written.
    """
    head = direction.head
    values: dict[str, Any] = {
        "weight": head.weight.double().tolist(),
        "std": head.std.double().tolist(),
        "towards": direction.towards,
        "encoder": direction.encoder,
        "fingerprint": direction.fingerprint,
    }
    if direction.pattern is not None:
        values["pattern"] = direction.pattern.double().tolist()
    if direction.scores:
        values |= {"mean": head.mean.double().tolist(), "bias": float(head.bias)}
    write_json(Path(path), values)
    return Path(path).absolute()


def load_direction(place: str | Path, dim: int) -> Direction:
    """A direction from wherever it is.

    Args:
        place: Folder of a probe's result (``ldae-linear@1``, ``brain-age@1`` ...), its ``result.json``, a
            direction file, or the published ``disease_classifier.ckpt`` with its mean and deviation beside it.
        dim: Length of a code.

    Raises:
        WeightsError: There is no such file, or it holds no direction of this length.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        path = path / ("result.json" if (path / "result.json").is_file() else _HEAD[0])
    if not path.is_file():
        raise WeightsError(
            "There is no direction here.",
            where=str(place),
            expected="the result folder of a probe, or a direction file (.json)",
            fix="medfm probe TABLE --encoder RUN --protocol ldae-linear@1 --out runs/probe makes one",
        )
    if path.suffix.lower() != ".json":
        # The published head was trained on AD 0 and CN 1, its classes in order of their names.
        head = load_head(path, path.parent / _HEAD[1], path.parent / _HEAD[2], dim)
        return Direction(head, towards="CN" if path.name == _HEAD[0] else "the positive class")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError("The file is no JSON.", where=str(path), expected="a direction file") from error
    return _of_json(content, path, dim)


def _of_json(content: Any, path: Path, dim: int) -> Direction:
    if isinstance(content, Mapping) and isinstance(content.get("extras"), Mapping):
        content = content["extras"].get(KEY)
        if content is None:
            raise WeightsError(
                "This result holds no direction.",
                where=str(path),
                expected="a linear probe of two classes or of a measurement, on codes of brain MRI",
                fix="--protocol ldae-linear@1 for a diagnosis of two classes, brain-age@1 for age",
            )
    if not isinstance(content, Mapping):
        raise WeightsError("The file holds no direction.", where=str(path), expected="an object with weight and std")
    weight, std = (_numbers(content.get(name), name, path, dim) for name in ("weight", "std"))
    if not bool((std > 0).all()) or not float(weight.norm()) > 0:
        raise WeightsError(
            "The direction has no length, or a deviation is not positive.",
            where=str(path),
            expected="weights, not all 0",
        )
    scores = content.get("mean") is not None
    mean = _numbers(content["mean"], "mean", path, dim) if scores else torch.zeros(dim)
    bias = content.get("bias", 0.0)
    if not isinstance(bias, (int, float)) or not math.isfinite(bias):
        raise WeightsError("The bias is no number.", where=str(path))
    along = _numbers(content["pattern"], "pattern", path, dim) if content.get("pattern") is not None else None
    if along is not None and not float(along.norm()) > 0:
        raise WeightsError("The pattern has no length.", where=str(path), expected="numbers, not all 0")
    words = {name: str(content.get(name) or "") for name in ("towards", "encoder", "fingerprint")}
    return Direction(LinearHead(weight, torch.tensor(float(bias)), mean, std), scores=scores, pattern=along, **words)


def _numbers(values: Any, name: str, path: Path, dim: int) -> Tensor:
    plain = isinstance(values, list) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )
    if not plain or len(values) != dim:
        found = f"{len(values)} entries" if isinstance(values, list) else "nothing usable"
        raise WeightsError(
            f"The direction's '{name}' has {found}.", where=str(path), expected=f"{dim} numbers, as many as a code has"
        )
    return torch.tensor(values, dtype=torch.float32)
