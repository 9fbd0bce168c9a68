"""The adapters by id, imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Prepared
from medfm.core.errors import ConfigError
from medfm.core.names import unknown_name

# id -> "module:object"; a new set adds a line here and a file beside this one.
_ADAPTERS = {
    "acevedo": "medfm.cohorts.adapters.acevedo:ACEVEDO",
    "acrima": "medfm.cohorts.adapters.acrima:ACRIMA",
    "adni": "medfm.cohorts.adapters.adni:ADNI",
    "aibl": "medfm.cohorts.adapters.aibl:AIBL",
    "aml_hehr": "medfm.cohorts.adapters.aml_hehr:AML_HEHR",
    "aptos2019": "medfm.cohorts.adapters.aptos:APTOS",
    "arch": "medfm.cohorts.adapters.arch:ARCH",
    "bach": "medfm.cohorts.adapters.bach:BACH",
    "bccd": "medfm.cohorts.adapters.bccd:BCCD",
    "bids": "medfm.cohorts.adapters.bids:BIDS",
    "bmc": "medfm.cohorts.adapters.bmc:BMC",
    "bpdneo": "medfm.cohorts.adapters.bpdneo:BPDNEO",
    "chexpert": "medfm.cohorts.adapters.chexpert:CHEXPERT_SET",
    "chula_rbc12": "medfm.cohorts.adapters.chula_rbc12:CHULA_RBC12",
    "cpsc2018": "medfm.cohorts.adapters.cpsc2018:CPSC2018",
    "csn": "medfm.cohorts.adapters.csn:CSN",
    "databiox": "medfm.cohorts.adapters.databiox:DATABIOX",
    "deepdrid": "medfm.cohorts.adapters.deepdrid:DEEPDRID",
    "elsafty": "medfm.cohorts.adapters.elsafty:ELSAFTY",
    "fives": "medfm.cohorts.adapters.fives:FIVES",
    "idrid": "medfm.cohorts.adapters.idrid:IDRID",
    "image-text": "medfm.cohorts.adapters.image_text:IMAGE_TEXT",
    "ixi": "medfm.cohorts.adapters.ixi:IXI",
    "jsiec": "medfm.cohorts.adapters.jsiec:JSIEC",
    "lc25000": "medfm.cohorts.adapters.lc25000:LC25000",
    "messidor": "medfm.cohorts.adapters.messidor:MESSIDOR",
    "messidor2": "medfm.cohorts.adapters.messidor2:MESSIDOR2",
    "mhist": "medfm.cohorts.adapters.mhist:MHIST",
    "mimic-cxr-jpg": "medfm.cohorts.adapters.mimic_cxr:MIMIC_CXR",
    "mimic-iv-ecg": "medfm.cohorts.adapters.mimic_iv_ecg:MIMIC_IV_ECG",
    "mmac": "medfm.cohorts.adapters.mmac:MMAC",
    "nct_crc": "medfm.cohorts.adapters.nct_crc:NCT_CRC",
    "nih-cxr14": "medfm.cohorts.adapters.nih_cxr14:NIH_CXR14",
    "oasis1": "medfm.cohorts.adapters.oasis1:OASIS1",
    "oasis2": "medfm.cohorts.adapters.oasis2:OASIS2",
    "oasis3": "medfm.cohorts.adapters.oasis3:OASIS3",
    "odir5k": "medfm.cohorts.adapters.odir5k:ODIR5K",
    "osteo": "medfm.cohorts.adapters.osteo:OSTEO",
    "padchest": "medfm.cohorts.adapters.padchest:PADCHEST",
    "pcam": "medfm.cohorts.adapters.pcam:PCAM",
    "ptbxl": "medfm.cohorts.adapters.ptbxl:PTBXL",
    "quilt1m": "medfm.cohorts.adapters.quilt1m:QUILT1M",
    "raabin": "medfm.cohorts.adapters.raabin:RAABIN",
    "refuge": "medfm.cohorts.adapters.refuge:REFUGE",
    "renal_cell": "medfm.cohorts.adapters.renal_cell:RENAL_CELL",
    "rsna-pneumonia": "medfm.cohorts.adapters.rsna_pneumonia:RSNA_PNEUMONIA",
    "sicapv2": "medfm.cohorts.adapters.sicapv2:SICAPV2",
    "skincancer": "medfm.cohorts.adapters.skincancer:SKINCANCER",
    "vindr-cxr": "medfm.cohorts.adapters.vindr_cxr:VINDR_CXR",
    "wsss4luad": "medfm.cohorts.adapters.wsss4luad:WSSS4LUAD",
}


def list_adapters() -> list[str]:
    """Ids of the public data sets that can be prepared."""
    return sorted(_ADAPTERS)


@cache
def get_adapter(name: str) -> Adapter:
    """The adapter called `name`: ``SET[-TASK][@LABELS]``, such as ``"ptbxl-super@published"``.

    A set alone has its first task and its first way to label.

    Raises:
        UnknownNameError: There is no such set, task or label variant; near names are given.
    """
    whole, _, labels = name.partition("@")
    # A set's own name may hold a hyphen, so the longest one that fits is taken.
    fits = [known for known in _ADAPTERS if whole == known or whole.startswith(f"{known}-")]
    if not fits:
        raise unknown_name(
            "data set", name, [*_ADAPTERS, *(n for known in _ADAPTERS for n in _of(known).cohort_names())]
        )
    found = max(fits, key=len)
    return _of(found).variant(whole[len(found) + 1 :] or None, labels or None)


def _of(name: str) -> Adapter:
    module, _, attribute = _ADAPTERS[name].partition(":")
    adapter: Adapter = getattr(importlib.import_module(module), attribute)
    return adapter


def all_aliases() -> list[tuple[str, ...]]:
    """For every adapter all names of its set."""
    return [tuple(dict.fromkeys((a.id, a.title, *a.aliases, *a.cohort_names()))) for a in map(_of, list_adapters())]


def prepare(
    name: str,
    source: str | Path,
    out: str | Path,
    *,
    allow_partial: bool = False,
    task: str | None = None,
    labels: str | None = None,
    splits: str | Path | None = None,
    rate: int | None = None,
    modality: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Prepared:
    """Prepare the set `name` from the folder `source`; see :meth:`Adapter.prepare`.

    Args:
        name: As of :func:`get_adapter`.
        source: The folder of the data set as released.
        out: Folder to write into.
        allow_partial: Accept other counts than the published ones.
        task, labels: Task and label variant, where the name does not say them.
        splits: Folder of published split files, for the sets that take one.
        rate: Samples per second of the recordings to take, for the sets released at several.
        modality, columns: What the pictures show, and cohort column -> column of the source, for ``image-text``.

    Raises:
        ConfigError: `task` or `labels` contradict the name.
        CohortError: The set is not released at `rate`, or as of :meth:`Adapter.prepare`.
    """
    adapter = get_adapter(_whole_name(name, task, labels)).configured(modality, columns)
    if rate is not None:
        adapter = adapter.at_rate(rate)
    return adapter.prepare(source, out, allow_partial=allow_partial, splits=splits)


def _whole_name(name: str, task: str | None, labels: str | None) -> str:
    whole, at, variant = name.partition("@")
    if labels is not None and at and labels != variant:
        raise ConfigError(f"The name '{name}' and the label variant '{labels}' contradict each other.")
    if task is not None and not whole.endswith(f"-{task}"):
        if whole not in _ADAPTERS:
            raise ConfigError(f"The name '{name}' and the task '{task}' contradict each other.")
        whole = f"{whole}-{task}"
    variant = labels or variant
    return f"{whole}@{variant}" if variant else whole
