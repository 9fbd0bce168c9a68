"""Checkpoints: whole or absent, complete, and read without executing anything."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medfm.core.config import merge
from medfm.core.errors import TrainingError
from medfm.core.files import atomic_path

_LOG = logging.getLogger(__name__)
FORMAT = "medfm-training-1"
PREVIOUS = "previous.ckpt"


def save_checkpoint(path: str | Path, state: Mapping[str, Any], *, former: bool = True) -> None:
    """Write `state` (tensors, numbers, texts, lists, dicts) atomically.

    Raises:
        StoreError: The place cannot be written to, or the disk is full; the former checkpoint stays.

    The checkpoint that was at `path` before becomes ``previous.ckpt`` beside it, unless `former` is false.
    """
    target = Path(path)
    with atomic_path(target) as temporary:
        with temporary.open("wb") as handle:
            try:
                torch.save({"format": FORMAT, **state}, handle)
            except RuntimeError as error:
                # torch's archive writer covers the file's own error (a full disk) with one of its own.
                cause = error.__context__
                if isinstance(cause, OSError):
                    raise cause from None
                raise
        if former:
            _keep_former(target)


def _keep_former(target: Path) -> None:
    """Let the former checkpoint live on as ``previous.ckpt``, at every moment under at least one name."""
    if not target.exists():
        return
    former = target.with_name(PREVIOUS)
    link = target.with_name(f".{PREVIOUS}.link")
    try:
        link.unlink(missing_ok=True)
        os.link(target, link)
        link.replace(former)
    except OSError:  # a file system without hard links
        target.replace(former)


def newest_checkpoint(path: str | Path) -> dict[str, Any]:
    """The checkpoint at `path`, or ``previous.ckpt`` beside it where that one is damaged or gone.

    Raises:
        TrainingError: Neither can be used; the message is about `path`.
    """
    target = Path(path)
    former = target.with_name(PREVIOUS)
    try:
        return load_checkpoint(target)
    except TrainingError as error:
        try:
            state = load_checkpoint(former)
        except TrainingError:
            raise error from error.__cause__
        _LOG.warning("%s (%s) The one before it is used, of step %d.", error.what, target, state["step"])
        return state


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
            fix="put a good copy in its place, or remove the output folder and start again without --resume",
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
        saved: Settings and data digest stored in the checkpoint. A `content` (digest of the pixels)
            that is not known on one side is not compared.
        wanted: Those of the run that resumes.
        where: The checkpoint, for the message.

    Raises:
        TrainingError: Names each difference.
    """
    old, new = _flat(merge({}, saved)), _flat(merge({}, wanted))
    unknown = {"content"} if old.get("content") is None or new.get("content") is None else set()
    changes = [
        f"{k}: {old.get(k, 'absent')} there, {new.get(k, 'absent')} now"
        for k in sorted((old | new).keys() - unknown)
        if old.get(k) != new.get(k)
    ]
    if changes:
        raise TrainingError(
            "The checkpoint belongs to another run:\n  - " + "\n  - ".join(changes),
            where=where,
            fix="resume with the same table and settings, or choose another output folder",
        )
