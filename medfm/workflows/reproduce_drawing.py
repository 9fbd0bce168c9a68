"""Published figures of scans drawn from codes: the run behind a claim whose protocol reconstructs or interpolates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.similarity_config import VolumeDrawing
from medfm.reporting.reproduction import Claim
from medfm.reporting.result import Result
from medfm.workflows.drawing_scans import part_weights
from medfm.workflows.latent_diffusion import load_system
from medfm.workflows.reconstruct import reconstruct

if TYPE_CHECKING:
    from medfm.workflows.reproduce import Site


def draws(claim: Claim) -> bool:
    """Whether the claim's protocol draws scans from codes."""
    return isinstance(load_protocol(claim.protocol).method, VolumeDrawing)


def run_drawing(site: Site, claim: Claim) -> Result:
    """Draw the claim's data set with the site's weights.

    Where the site names the encoder's file, the files of the other networks are looked for beside it,
    under their published names, and then where weights are kept.
    """
    from medfm.encoders.registry import get_card

    cohort = site.cohort(claim.cohort)
    given: list[str | Path] = [] if site.weights is None else [site.weights]
    system = load_system(site.card, weights=part_weights(get_card(site.card), given), device=site.device)
    name = f"{system.encoder.id}: {claim.dataset}, {claim.protocol}"
    return reconstruct(system, cohort, claim.protocol, allow=site.allow, name=name, progress=site.progress)
