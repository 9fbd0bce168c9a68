"""Networks for chest radiographs: TorchXRayVision's ResNet-50 and DenseNet-121, and BPDneo's ResNet-50.

Layers and names are torchvision's, with one channel in front where the card says so and the published
classifier behind. Cohen JP et al., TorchXRayVision: A library of chest X-ray datasets and models, MIDL 2022,
arXiv 2111.00595; Goedicke-Fritz S et al., Site-Level Fine-Tuning with Progressive Layer Freezing, arXiv 2507.12269.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medfm.encoders.families import Family
from medfm.encoders.first_weights import draw
from medfm.encoders.heads import row_by_row
from medfm.encoders.picture_resnet import feature_map, picture_resnet, plain_names
from medfm.encoders.radiograph_args import RadiographArgs
from medfm.encoders.untrained import checked_args, untrained


def _network(args: RadiographArgs) -> Any:
    if args.backbone == "densenet121":
        import torchvision

        network: Any = torchvision.models.densenet121(weights=None)
        network.features.conv0 = nn.Conv2d(args.channels, 64, 7, 2, 3, bias=False)
        network.classifier = nn.Linear(args.dim, args.classes)
        return network
    network = picture_resnet(args.backbone)
    network.conv1 = nn.Conv2d(args.channels, network.conv1.out_channels, 7, 2, 3, bias=False)
    network.fc = nn.Linear(args.dim, args.classes)
    return network


class RadiographNet(nn.Module):
    """(n, channels, H, W) -> the feature (n, dim) before the classifier; :meth:`classify` gives the logits."""

    def __init__(self, args: RadiographArgs) -> None:
        super().__init__()
        self.args = args
        self.network = _network(args)

    def feature_map(self, x: Tensor) -> Tensor:
        """The last map (n, dim, H / 32, W / 32), behind its ReLU."""
        if self.args.backbone != "densenet121":
            return feature_map(self.network, x)
        out: Tensor = torch.relu(self.network.features(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Mean of the last map over its places."""
        return self.feature_map(x).mean(dim=(2, 3))

    def tokens(self, x: Tensor) -> Tensor:
        """The places of the last map row by row (n, places, dim); their mean is the feature."""
        return self.feature_map(x).flatten(2).transpose(1, 2)

    def answers(self, features: Tensor) -> Tensor:
        """Logits (n, classes) of features (n, dim)."""
        head = self.network.classifier if self.args.backbone == "densenet121" else self.network.fc
        return row_by_row(head, features)

    def classify(self, x: Tensor) -> Tensor:
        """Logits (n, classes), as the published classifier gives them before any sigmoid."""
        return self.answers(self.forward(x))


def build_radiograph(
    args: RadiographArgs | Mapping[str, Any], generator: torch.Generator | None = None, device: str = "cpu"
) -> RadiographNet:
    """An untrained network; arguments as for :func:`medfm.encoders.clip.build_clip`."""
    return untrained(partial(RadiographNet, checked_args(RadiographArgs, args)), draw, generator, device)


FAMILY = Family(
    build=build_radiograph,
    plain_names=plain_names,
    embed=RadiographNet.forward,
    tokens=RadiographNet.tokens,
    training_only=("fc", "classifier", "num_batches_tracked"),
    classify=RadiographNet.classify,
)
