"""Checkpoints: whole or absent, complete, and read without executing anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medfm.core.config import merge
from medfm.core.errors import TrainingError
from medfm.core.files import atomic_path

FORMAT = "medfm-training-1"


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, texts, lists, dicts) atomically.

    Raises:
        StoreError: The place cannot be written to, or the disk is full; the former checkpoint stays.
    """
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, onto the CPU.

    Raises:
        TrainingError: The file is missing, damaged, or not such a checkpoint.
    """
    file = Path(path)
    if not file.is_file():
        raise TrainingError("There is no checkpoint to resume from.", where=str(file), fix="start without --resume")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows as a dozen unrelated kinds; the cause is kept
        raise TrainingError(
            "The checkpoint is damaged or not safe to load.",
            where=str(file),
            expected="a file written by medfm pretrain",
            fix="remove it and start again, or put a good copy in its place",
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise TrainingError("This file is not a training checkpoint.", where=str(file), expected=f"format {FORMAT}")
    return state


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        result |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return result


def check_same_run(saved: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Refuse to resume under other settings or on other data.

    Args:
        saved: Settings and data digest stored in the checkpoint.
        wanted: Those of the run that resumes.
        where: The checkpoint, for the message.

    Raises:
        TrainingError: Names each difference.
    """
    old, new = _flat(merge({}, saved)), _flat(merge({}, wanted))
    changes = [
        f"{k}: {old.get(k, 'absent')} there, {new.get(k, 'absent')} now"
        for k in sorted(old | new)
        if old.get(k) != new.get(k)
    ]
    if changes:
        raise TrainingError(
            "The checkpoint belongs to another run:\n  - " + "\n  - ".join(changes),
            where=where,
            fix="resume with the same table and settings, or choose another output folder",
        )
