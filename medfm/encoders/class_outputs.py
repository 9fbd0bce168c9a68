"""The named outputs of an encoder that comes with a published classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from medfm.core.names import unknown_name

if TYPE_CHECKING:
    import torch

    from medfm.encoders.card_schema import ClassifierSpec

Output = Literal["logit", "probability", "operating_point"]


def class_output(logits: torch.Tensor, spec: ClassifierSpec, output: str) -> torch.Tensor:
    """One of the named outputs.

    Args:
        logits: (n, classes).
        spec: The card's classifier.
        output: ``logit``: as the network gives it; ``probability``: its sigmoid; ``operating_point``:
            the sigmoid rescaled so that the class's operating point becomes 0.5.

    Raises:
        UnknownNameError: There is no such output.
    """
    import torch

    if output not in get_args(Output):
        raise unknown_name("output of a classifier", output, get_args(Output))
    if output == "logit":
        return logits
    probability = torch.sigmoid(logits)
    if output == "probability":
        return probability
    points = [float("nan") if point is None else point for point in spec.operating_points]
    points = points or [float("nan")] * logits.shape[1]
    return at_operating_points(probability, torch.tensor(points, device=logits.device))


def at_operating_points(probability: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Probabilities rescaled in two straight pieces: 0 stays 0, the operating point becomes 0.5, 1 stays 1.

    TorchXRayVision's ``op_norm``; the result is a score to compare with 0.5, not a calibrated probability.

    Args:
        probability: (n, classes), 0 to 1.
        points: (classes,), strictly between 0 and 1; NaN where none is known, which gives exactly 0.5.
    """
    import torch

    below = probability / (2 * points)
    above = 1 - (1 - probability) / (2 * (1 - points))
    scaled = torch.where(probability < points, below, above)
    return torch.where(torch.isnan(points), torch.full_like(scaled, 0.5), scaled)
