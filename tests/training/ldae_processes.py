"""All that is tried of LDAE's training in two processes; started twice by test_ldae_processes.py as a program: FOLDER.

The environment is that of torchrun, so that one pair of processes serves many runs; PYTHONPATH names repository and tests.
"""

from __future__ import annotations

import copy
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from ldae_parts import BACK, STAGES, make_stage, recipe, records
from lightning_fabric import Fabric
from tiny_ldae import shaken, tiny_card

from medfm.core.errors import TrainingError
from medfm.encoders.card import Card
from medfm.encoders.ldae.load import build_part
from medfm.training.ldae_latents import compute_together
from medfm.training.ldae_loop import _step, launched, train_stage
from medfm.training.processes import one_fate
from medfm.training.record_tensors import RecordTensors
from medfm.training.sharding import is_sharded

Found = dict[str, Any]


def machine(strategy: str, **values: Any) -> dict[str, Any]:
    return {"accelerator": "cpu", "devices": 2, "strategy": strategy, "checkpoint_every": 100, **values}


def started(card: Card, volumes: RecordTensors, stage: str, strategy: str, **values: Any) -> tuple[Fabric, Any, Any]:
    config = recipe(stage, machine=machine(strategy), **values)
    return launched(config), make_stage(card, volumes, config), config


def one_step(card: Card, volumes: RecordTensors, stage: str, strategy: str, **values: Any) -> Found:
    """A step; losses, values on the validation records, the state and how large the share of this process is."""
    fabric, made, config = started(card, volumes, stage, strategy, **values)
    made.setup(fabric)
    terms = _step(fabric, made, config, 0, fabric.global_rank, 2)
    judged = made.judge() if config.precision == "32-true" else {}
    # The state of one process alone is that of its networks themselves, which change below.
    state, kept = copy.deepcopy(made.state()), copy.deepcopy(made.kept())
    own = sum(p.to_local().numel() if is_sharded(made.live) else p.numel() for p in made.live.parameters())
    all_of_it = sum(p.numel() for p in made.live.parameters())
    made.load_kept(kept)
    ends = (made.loss if stage != "autoencoder" else made.compression).state_dict()
    return {"terms": terms, "judged": judged, "state": state, "kept": kept, "share": own / all_of_it, "ends": ends}


def goes_on(card: Card, volumes: RecordTensors, stage: str, state: Any, rank: int) -> Found:
    """The next step from a state, in whole networks."""
    fabric, made, config = started(card, volumes, stage, "ddp")
    # An optimiser goes on in the tensors that it is given.
    made.load_state(copy.deepcopy(fabric.broadcast(state)))
    made.setup(fabric)
    return {"terms": _step(fabric, made, config, 1, rank, 2), "state": copy.deepcopy(made.state())}


def stopped_and_resumed(card: Card, volumes: RecordTensors, folder: Path, rank: int) -> Found:
    """A signal reaches one process at its first step; the run goes on in shares and ends."""
    found: Found = {}
    identity = {"recipe": "t"}
    for name, strategy, resume in (("whole", "ddp", False), ("run", "ddp", False), ("run", "fsdp", True)):
        fabric, made, config = started(card, volumes, "latent", strategy, epochs=1)
        own, stop = made.step, name == "run" and not resume

        def stopping(fabric: Fabric, batches: Any, draw: Any, own: Any = own, stop: bool = stop) -> Any:
            if stop and rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return own(fabric, batches, draw)

        made.step = stopping
        try:
            first, epoch = train_stage(
                made, folder / name, config=config, identity=identity, fabric=fabric, resume=resume
            )
            found[name] = {"first": first, "epoch": epoch, "model": made.loss.state_dict()}
        except KeyboardInterrupt:
            found["stopped"] = (folder / name / "checkpoint" / "last.ckpt").is_file()
    return found


def left_alone(card: Card, volumes: RecordTensors, rank: int) -> Found:
    """The second process is killed within a step; what the first says, and after how many seconds."""
    fabric, made, config = started(card, volumes, "latent", "ddp")
    made.setup(fabric)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    began = time.monotonic()
    try:
        with one_fate(2):
            _step(fabric, made, config, 0, rank, 2)
    except TrainingError as error:
        return {"text": str(error), "seconds": time.monotonic() - began}
    return {}


def main(place: str) -> None:
    folder, rank = Path(place), int(os.environ["RANK"])
    torch.set_num_threads(1)
    card = tiny_card(folder / str(rank))
    volumes = records(card)
    found: Found = {}
    for stage in STAGES:
        for strategy in ("ddp", "fsdp"):
            found[f"{stage}-{strategy}"] = one_step(card, volumes, stage, strategy)
        # What was gathered from shares is a state like any other.
        found[f"{stage}-on"] = goes_on(card, volumes, stage, found[f"{stage}-fsdp"]["state"], rank)
    mixed = {"precision": "bf16-mixed", "checkpointing": True, "accumulate": 1}
    found["bf16"] = one_step(card, volumes, "latent", "fsdp", **mixed)["terms"]
    flaw = {"discriminator": {"channels": 4, "layers": 1, "learns_from": "both_losses"}}
    found["flaw"] = one_step(card, volumes, "autoencoder", "ddp", **flaw)
    found["resumed"] = stopped_and_resumed(card, volumes, folder, rank)
    fabric = launched(recipe("latent", machine=machine("ddp")))
    autoencoder = shaken(build_part(card, "autoencoder", 0))
    latents = compute_together(folder / "out", "k" * 32, autoencoder, volumes, BACK, fabric)
    found["latents"] = {"mean": latents.mean, "sigma": latents.sigma}
    # Fewer records than processes.
    found["one"] = compute_together(folder / "out", "f" * 32, autoencoder, volumes.take([0]), BACK, fabric).mean
    found["files"] = sorted(path.name for path in (folder / "out" / "latents").iterdir())
    torch.save(found, folder / f"found-{rank}.pt")
    torch.save(left_alone(card, volumes, rank), folder / f"alone-{rank}.pt")
    # Nothing is to be waited for any more.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
