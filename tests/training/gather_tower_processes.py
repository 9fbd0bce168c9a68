"""One step of two towers in several processes; run by test_towers_gather.py as a program: DEVICES OUT."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from medfm.training.paired_loop import _step
from medfm.training.pairs import PairBatch
from medfm.training.towers import TowerOutputs
from medfm.training.towers_config import ClipRecipe, ConvirtRecipe, FlairRecipe

BATCH = 8
KINDS = {
    "clip": (ClipRecipe, {}),
    "siglip": (ClipRecipe, {"loss": "siglip"}),
    "coca": (ClipRecipe, {"loss": "coca"}),
    "flair": (FlairRecipe, {}),
    "convirt": (ConvirtRecipe, {}),
}


class Towers(torch.nn.Module):
    """Linear towers: no batch statistics and no dropout, so that a batch may be cut anywhere."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.image, self.text = torch.nn.Linear(6, 5), torch.nn.Linear(6, 5)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, generator=source)
        self.writer = torch.nn.Linear(6, 1) if kind == "coca" else None
        if self.writer is not None:
            torch.nn.init.ones_(self.writer.weight)
            torch.nn.init.zeros_(self.writer.bias)
        self.scale = torch.nn.Parameter(torch.tensor(1.0)) if kind != "convirt" else None
        self.bias = torch.nn.Parameter(torch.tensor(-2.0)) if kind == "siglip" else None

    def forward(self, records: torch.Tensor, text: torch.Tensor) -> TowerOutputs:
        zero = records.new_zeros(())
        return TowerOutputs(
            self.image(records),
            self.text(text),
            zero if self.scale is None else self.scale * 1.0,
            zero if self.bias is None else self.bias * 1.0,
            zero if self.writer is None else self.writer(records).square().mean(),
        )


def one_step(fabric: Fabric, kind: str, rule: str) -> dict:
    """One step of plain gradient descent on eight pairs: the terms and the change of every weight."""
    recipe, settings = KINDS[kind]
    model = Towers(kind)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapped, fast = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.0))
    source = torch.Generator().manual_seed(1)
    records, text = (torch.randn(BATCH, 6, generator=source) for _ in range(2))
    groups = torch.tensor([0, 1, 0, 2, 1, 0, 3, 2])
    share = BATCH // fabric.world_size
    own = slice(fabric.global_rank * share, (fabric.global_rank + 1) * share)
    config = recipe(name="t", epochs=1, batch_size=share, gather=rule, **settings)
    batch = PairBatch(records[own], (text[own],), groups[own])
    terms = _step(fabric, wrapped, fast, list(model.parameters()), config, batch, 0, 1.0)
    return {
        "terms": terms,
        "change": {name: (before[name] - p.detach()).tolist() for name, p in model.named_parameters()},
    }


def launched(devices: int) -> Fabric:
    """This process as one of `devices`."""
    strategy = DDPStrategy(process_group_backend="gloo") if devices > 1 else "auto"
    fabric = Fabric(accelerator="cpu", devices=devices, strategy=strategy)
    fabric.launch()
    return fabric


def every_kind(fabric: Fabric) -> dict:
    """A step of every kind with and without gathering."""
    return {f"{kind}/{rule}": one_step(fabric, kind, rule) for kind in KINDS for rule in ("full", "none")}


def main(devices: int, out: str) -> None:
    """All of it, as JSON."""
    fabric = launched(devices)
    found = every_kind(fabric)
    if fabric.is_global_zero:
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
