"""The linear probe that comes with LDAE: its files, its score, and the direction it gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from medfm.core.errors import WeightsError
from medfm.encoders.ldae.codes import manipulate, standardise
from medfm.encoders.safety import load_checkpoint


@dataclass(frozen=True)
class LinearHead:
    """A linear score on standardised semantic codes of length d.

    Attributes:
        weight: (d,).
        bias: Scalar.
        mean: (d,), of the codes it was trained on.
        std: (d,), positive.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor

    def score(self, codes: Tensor) -> Tensor:
        """Logits (n,) of codes (n, d); above 0 is the positive class (for the published head: CN, not AD)."""
        standard = standardise(codes, self.mean.to(codes.device), self.std.to(codes.device))
        return standard @ self.weight.to(codes.device) + self.bias.to(codes.device)

    def move(self, codes: Tensor, strength: float) -> Tensor:
        """Codes (n, d) moved towards the positive class (away from it where `strength` is negative)."""
        device = codes.device
        return manipulate(codes, self.weight.to(device), self.mean.to(device), self.std.to(device), strength)


def load_head(classifier: str | Path, mean: str | Path, std: str | Path, dim: int = 768) -> LinearHead:
    """The published head from its three files.

    Args:
        classifier: ``disease_classifier.ckpt``: ``weight`` (1, d) and ``bias`` (1,), bare or under
            ``state_dict``.
        mean: ``semantic_mean.pt``: a tensor (d,).
        std: ``semantic_std.pt``: a tensor (d,), positive.
        dim: Length of a code.

    Raises:
        WeightsError: A file is missing, damaged, unsafe, or holds something else.
    """
    for file in (classifier, mean, std):
        if not Path(file).is_file():
            raise WeightsError(
                "A file of the head does not exist.",
                where=str(file),
                expected="the classifier, and mean and deviation of the codes it was trained on, beside each other",
            )
    state = load_checkpoint(classifier)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or set(state) != {"weight", "bias"}:
        raise WeightsError("The file holds no linear head.", where=str(classifier), expected="a weight and a bias")
    head = LinearHead(
        _checked(state["weight"], (1, dim), classifier)[0],
        _checked(state["bias"], (1,), classifier)[0],
        _checked(load_checkpoint(mean), (dim,), mean),
        _checked(load_checkpoint(std), (dim,), std),
    )
    if not bool((head.std > 0).all()):
        raise WeightsError("A standard deviation is not positive.", where=str(std))
    return head


def _checked(tensor: object, shape: tuple[int, ...], where: str | Path) -> Tensor:
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
        found = f"shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise WeightsError(f"Found {found}.", where=str(where), expected=f"a tensor of shape {shape}")
    values = tensor.detach().to(torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise WeightsError("The file holds values that are not finite.", where=str(where))
    return values.clone()
