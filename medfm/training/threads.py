"""The number of processor threads of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def processor_threads(number: int) -> Iterator[None]:
    """Compute with `number` threads inside, with as many as before afterwards; 0 leaves torch its choice.

    Small networks spend more on handing work to a second thread than they gain. The number also
    decides the order of sums, so a recipe that fixes it gives the same weights on other machines
    of the same kind.
    """
    if not number:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
