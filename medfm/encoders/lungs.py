"""Lung fields of a radiograph, by an open segmentation network whose weights the user gives.

The network is :class:`medfm.encoders.pspnet.PSPNet` with the 14 structures of ChestX-Det. From both lungs a box with a
margin is found; where one lung or none is seen, the radiograph is kept whole: a lung that is white all over is not
seen by such networks, and cutting it off would cut off the disease.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from medfm.core.errors import WeightsError
from medfm.encoders.preprocessing_radiograph import resized, unit_radiograph

if TYPE_CHECKING:
    import torch

    from medfm.encoders.pspnet import PSPNet

# torchxrayvision.baseline_models.chestx_det.PSPNet.targets, in the order of the output; "weasand" is the oesophagus.
STRUCTURES = (
    "left clavicle", "right clavicle", "left scapula", "right scapula", "left lung", "right lung",
    "left hilus pulmonis", "right hilus pulmonis", "heart", "aorta", "facies diaphragmatica", "mediastinum",
    "weasand", "spine",
)  # fmt: skip
LUNGS = (STRUCTURES.index("left lung"), STRUCTURES.index("right lung"))
FILE = "pspnet_chestxray_best_model_4.pth"
PAGE = "https://github.com/mlmed/torchxrayvision/releases/tag/v1"
SIDE = 512
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# A lung of less than a fiftieth of the picture, or of more than half of it, is a false alarm or a picture of something else.
LEAST, MOST = 0.02, 0.5
MARGIN = 0.05

Seen = Literal["both", "one", "none"]


@dataclass(frozen=True)
class LungField:
    """Where the lungs of one radiograph are.

    Attributes:
        seen: ``both`` lungs, ``one`` or ``none``.
        box: (top, left, bottom, right) in pixels of the radiograph, the last two exclusive; ``None`` unless both
            lungs were seen: the radiograph is to be kept whole.
        shares: Share of the radiograph that the left and the right lung cover (of their largest connected parts).
    """

    seen: Seen
    box: tuple[int, int, int, int] | None
    shares: tuple[float, float]


def load_lung_network(file: str | Path | None) -> PSPNet:
    """The network with the weights of `file`, ready to segment.

    Raises:
        WeightsError: There is no file (``None``: none was named), it cannot be read safely, or holds another network.
    """
    import torch

    from medfm.encoders.card_schema import KeyMap
    from medfm.encoders.keymaps import match
    from medfm.encoders.pspnet import PSPNet
    from medfm.encoders.safety import check_state, load_checkpoint

    if file is None or not Path(file).is_file():
        raise WeightsError(
            "Finding lungs needs a segmentation network, and "
            + ("its weights were not named." if file is None else "the file of its weights does not exist."),
            where=None if file is None else str(file),
            expected=f"{FILE} of {PAGE} (read its terms); it is not part of medfm",
            fix=f"fetch that file where there is a connection and pass --weights {FILE}; cropping is optional, every other "
            "command works without it",
        )
    where = str(file)
    state = check_state(load_checkpoint(file), where)
    with torch.device("meta"):
        network = PSPNet(len(STRUCTURES))
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors, report = match(state, wanted, KeyMap(prefixes=("module.", "model.")), where)
    if not report.ok:
        raise WeightsError(
            "The checkpoint is not the segmentation network of ChestX-Det (PSPNet with a ResNet-101).\n"
            + "\n".join(f"    {line}" for line in str(report).split("\n")),
            where=where,
            expected=f"{FILE} of {PAGE}",
        )
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise WeightsError(f"The checkpoint holds values that are not finite, such as in {bad[0]}.", where=where)
    network.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()},
        assign=True,
    )
    return network.eval().requires_grad_(False)


def lung_masks(array: np.ndarray, network: torch.nn.Module, where: str | None = None) -> np.ndarray:
    """Masks bool (2, height, width) of the left and the right lung on the grid of the radiograph.

    The radiograph is padded with black to a square about its middle, so that nothing is cut off and proportions stay,
    and resized to 512 pixels. A pixel belongs to a lung where the network's probability is at least 0.5.

    Args:
        array: float32 (height, width) in [0, 1].
        network: PSPNet, or another module (1, 3, 512, 512) -> (1, 14, 512, 512).
        where: The record, for messages.

    Raises:
        ReadError: Another kind of array.
    """
    import torch

    values = unit_radiograph(array, where)
    rows, columns = values.shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    square = np.zeros((side, side), np.float32)
    square[top : top + rows, left : left + columns] = values
    small = np.array(resized(square, (SIDE, SIDE)))
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    mean, std = (torch.tensor(numbers, device=device)[:, None, None] for numbers in (MEAN, STD))
    batch = (torch.from_numpy(small).to(device).expand(3, -1, -1) - mean) / std
    with torch.inference_mode():
        logits = network(batch[None])[:, list(LUNGS)].float()
    # Back to the grid of the radiograph by the small pixel that its pixels' middles lie in: a box needs no more.
    marked = (logits[0] >= 0).cpu().numpy()
    down = ((2 * np.arange(top, top + rows) + 1) * SIDE) // (2 * side)
    across = ((2 * np.arange(left, left + columns) + 1) * SIDE) // (2 * side)
    return np.asarray(marked[:, down][:, :, across])


def lung_field(masks: np.ndarray, margin: float = MARGIN) -> LungField:
    """The box about both lungs.

    Of each lung the largest connected part counts, and only where it covers 2 to 50 % of the radiograph.

    Args:
        masks: bool (2, height, width), left and right.
        margin: Added on every side, as a share of the box's own height and width.
    """
    parts = [largest_part(mask) for mask in masks]
    left, right = (float(part.mean()) for part in parts)
    found = [part for part, share in zip(parts, (left, right), strict=True) if LEAST <= share <= MOST]
    shares = (left, right)
    if len(found) < 2:
        return LungField("one" if found else "none", None, shares)
    both = found[0] | found[1]
    ends: list[tuple[int, int]] = []
    for axis in (0, 1):
        places = np.flatnonzero(both.any(axis=1 - axis))
        first, last = int(places[0]), int(places[-1]) + 1
        wider = round((last - first) * margin)
        ends.append((max(first - wider, 0), min(last + wider, both.shape[axis])))
    (top, bottom), (start, stop) = ends
    return LungField("both", (top, start, bottom, stop), shares)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest part of a mask whose pixels touch by their sides; empty for an empty mask."""
    from scipy import ndimage

    named, count = ndimage.label(mask)
    if count < 2:
        return np.asarray(mask, bool)
    sizes = np.bincount(named.ravel())
    sizes[0] = 0
    return np.asarray(named == int(sizes.argmax()))
