"""Which part of the work this process does, when several share one store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from medfm.core.errors import ConfigError
from medfm.core.hashing import sha256_bytes


@dataclass(frozen=True)
class Share:
    """Part `rank` of `world` parts; `origin` says for people where that came from.

    A record belongs to a part by the hash of its id, so every process and node agrees
    without talking, whatever the order of the table and wherever the files are mounted.
    """

    rank: int
    world: int
    origin: str = "given"

    def __post_init__(self) -> None:
        if self.world < 1 or not 0 <= self.rank < self.world:
            raise ConfigError(
                f"There is no part {self.rank} of {self.world}.",
                where=f"shard ({self.origin})",
                expected="RANK/WORLD with 0 <= RANK < WORLD, such as 0/4 for the first of four",
            )

    def __str__(self) -> str:
        return f"{self.rank}/{self.world} ({self.origin})"

    def has(self, record_id: str) -> bool:
        """Whether the record belongs to this part."""
        return self.world == 1 or int(sha256_bytes(record_id.encode())[:12], 16) % self.world == self.rank


def parse_share(text: str, environment: Mapping[str, str] | None = None) -> Share | None:
    """The share that `text` names: ``"auto"``, ``"none"`` or ``"RANK/WORLD"`` (ranks from 0).

    ``"auto"`` looks at the environment: torchrun (``RANK``, ``WORLD_SIZE``), then a SLURM
    array (``SLURM_ARRAY_TASK_ID``, ``..._MIN``, ``..._COUNT``; its ids must have no gaps).
    `None` means the whole.
    """
    if text == "none":
        return None
    if text == "auto":
        return share_of_environment(os.environ if environment is None else environment)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise ConfigError(f"'{text}' is no part of the work.", where="shard", expected="auto, none, or RANK/WORLD")
    return Share(int(match[1]), int(match[2]))


def share_of_environment(environment: Mapping[str, str]) -> Share | None:
    """The share that torchrun or a SLURM array gives this process, or `None` outside of both."""
    if "RANK" in environment and _number(environment, "WORLD_SIZE", 1) > 1:
        return Share(_number(environment, "RANK", 0), _number(environment, "WORLD_SIZE", 1), "torchrun")
    if "SLURM_ARRAY_TASK_ID" in environment:
        count = _number(environment, "SLURM_ARRAY_TASK_COUNT", 1)
        first = _number(environment, "SLURM_ARRAY_TASK_MIN", 0)
        last = _number(environment, "SLURM_ARRAY_TASK_MAX", first + count - 1)
        if last - first + 1 != count:
            raise ConfigError(
                f"The SLURM array has {count} tasks with ids from {first} to {last}: there are gaps.",
                where="SLURM_ARRAY_TASK_ID",
                expected="an array without gaps, such as --array=0-7",
                fix="submit a plain array, or give --shard RANK/WORLD yourself",
            )
        if count > 1:
            return Share(_number(environment, "SLURM_ARRAY_TASK_ID", 0) - first, count, "SLURM array")
    return None


def _number(environment: Mapping[str, str], name: str, fallback: int) -> int:
    text = environment.get(name, str(fallback))
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(f"{name} is '{text}'.", where="environment", expected="a whole number") from error
