"""Published zero-shot figures: the run behind a claim whose protocol trains nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from medfm.evaluation.protocol import load_protocol
from medfm.reporting.error_pictures import error_pictures
from medfm.reporting.reproduction import Claim
from medfm.reporting.result import Result
from medfm.workflows.zero_shot import zero_shot

if TYPE_CHECKING:
    from medfm.workflows.reproduce import Site


def is_zero_shot(claim: Claim) -> bool:
    """Whether the claim's protocol is of kind ``zero_shot``."""
    return load_protocol(claim.protocol).method.kind == "zero_shot"


def label_set_of(cohort: str, modality: str) -> str | None:
    """The label set that bears the name of a cohort (``nct_crc@quilt``: ``nct-crc-quilt``), if there is one."""
    from medfm.knowledge.load import list_knowledge, load_knowledge

    name = cohort.replace("_", "-").replace("@", "-")
    return name if modality in list_knowledge() and name in load_knowledge(modality).label_sets else None


def run_zero_shot(site: Site, claim: Claim) -> Result:
    """Score the claim's data set with the site's weights and, where there is one, its prompt file.

    A data set that bears the name of another preprocessing of the card (MERL's ``cpsc2018``) is
    prepared by that one, as it was for the published figure.
    """
    cohort, encoder = site.cohort(claim.cohort), site.encoder(site.variant(claim.cohort))
    made = zero_shot(
        encoder,
        cohort,
        claim.target,
        claim.protocol,
        prompt_file=site.prompt_file,
        label_set=cohort.info.get("label_set") or label_set_of(claim.cohort, cohort.modality),
        allow=site.allow,
        cache=site.cache,
        name=f"{encoder.id}: {claim.dataset}, {claim.protocol}",
        progress=site.progress,
    )
    return replace(made, thumbnails=error_pictures(made, cohort, encoder))
