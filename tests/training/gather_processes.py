"""One training step in several processes; run by test_gather.py as a program: DEVICES OUT RULE..."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from medfm.training.merl import MerlOutputs
from medfm.training.paired_loop import _step
from medfm.training.pairs import PairBatch
from medfm.training.pairs_config import MerlRecipe

BATCH = 8


class Towers(torch.nn.Module):
    """Linear towers: no batch statistics and no dropout, so that a batch may be cut anywhere."""

    def __init__(self) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0)
        for name in ("signal", "text", "view1", "view2"):
            layer = torch.nn.Linear(6, 5)
            for parameter in layer.parameters():
                torch.nn.init.normal_(parameter, generator=source)
            self.add_module(name, layer)

    def forward(self, records: torch.Tensor, text: torch.Tensor) -> MerlOutputs:
        return MerlOutputs(self.signal(records), self.text(text), self.view1(records), self.view2(records))


def launched(devices: int) -> Fabric:
    """This process as one of `devices`."""
    strategy = DDPStrategy(process_group_backend="gloo") if devices > 1 else "auto"
    fabric = Fabric(accelerator="cpu", devices=devices, strategy=strategy)
    fabric.launch()
    return fabric


def one_step(fabric: Fabric, rule: str) -> dict:
    """One step of plain gradient descent on eight pairs: the terms and the change of every weight."""
    model = Towers()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    wrapped, fast = fabric.setup(model, optimizer)
    source = torch.Generator().manual_seed(1)
    records, text = (torch.randn(BATCH, 6, generator=source) for _ in range(2))
    share = BATCH // fabric.world_size
    own = slice(fabric.global_rank * share, (fabric.global_rank + 1) * share)
    config = MerlRecipe(name="t", epochs=1, batch_size=share, gather=rule)
    batch = PairBatch(records[own], (text[own],))
    terms = _step(fabric, wrapped, fast, list(model.parameters()), config, batch, 0, 1.0)
    change = {name: (before[name] - p.detach()).tolist() for name, p in model.named_parameters()}
    return {"terms": terms, "change": change}


def main(devices: int, out: str, rules: list[str]) -> None:
    """A step by every rule, as JSON."""
    fabric = launched(devices)
    found = {rule: one_step(fabric, rule) for rule in rules}
    if fabric.is_global_zero:
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
