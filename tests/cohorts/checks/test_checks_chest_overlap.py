"""Encoders of radiographs name their training sets as the adapters name theirs, so that L008 finds the overlap."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from medfm.cohorts.checks.table import _overlap
from medfm.encoders.registry import get_card, list_encoders

CHEST = [name for name in list_encoders() if get_card(name).spec.modality == "chest_xray"]
# What medfm data prepare writes -> who was trained on it.
XRV = {"xrv-resnet50", "bpdneo-resnet50"}
SETS = {
    "nih-cxr14": XRV | {"xrv-densenet121"},
    "padchest-all": XRV | {"xrv-densenet121"},
    "padchest-physician": XRV | {"xrv-densenet121"},
    "rsna-pneumonia-opacity": XRV | {"xrv-densenet121"},
    "vindr-cxr": XRV,
    "vindr-cxr@any": XRV,
    "chexpert-competition@u-ones": {"xrv-densenet121"},
    "mimic-cxr-jpg-chexpert": {"xrv-densenet121"},
    "our hospital": set(),
    "kermany_pneumonia": set(),
}


def cohort(name: str) -> Any:
    return SimpleNamespace(info={"adapter": name}, name=name, table=pd.DataFrame({"split": ["train", "test"]}))


def names_of(encoder: str) -> tuple[str, ...]:
    return tuple(part.named() for part in get_card(encoder).spec.training_data)


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_was_trained_on_is_found(name: str) -> None:
    trained = {e for e in CHEST if names_of(e) and _overlap(cohort(name), names_of(e)).severity == "warning"}
    assert trained & {"xrv-resnet50", "bpdneo-resnet50", "xrv-densenet121"} == SETS[name]


def test_every_encoder_of_radiographs_with_weights_says_what_it_was_trained_on() -> None:
    for name in CHEST:
        spec = get_card(name).spec
        assert spec.training_data or not spec.weights.sources, name
