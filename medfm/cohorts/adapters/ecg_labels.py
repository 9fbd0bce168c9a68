"""Labels of the public ECG tasks, in the order of MERL's published files, with the counts of those files.

The names are those of the label sets in ``configs/knowledge/ecg.yaml`` (a test holds both together).
Counts were taken from the split files of cheliu-computation/MERL-ICML2024 at 38799b7
(``finetune/data_split``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_LABELS = {
    "ptbxl-super": "HYP NORM MI CD STTC",
    "ptbxl-sub": (
        "AMI LAFB/LPFB LVH STTC IMI SEHYP CRBBB WPW LAO/LAE NORM ISC AVB RAO/RAE LMI ISCI ISCA NST CLBBB ILBBB IRBBB "
        "PMI RVH IVCD"
    ),
    "ptbxl-form": ("PAC DIG HVOLT STD LPR QWAVE VCLVH NDT TAB LOWT ABQRS LNGQT PRC(S) NT STE NST PVC INVT LVOLT"),
    "ptbxl-rhythm": "SVARR BIGU STACH SARRH SBRAD TRIGU AFIB SR SVTAC PSVT AFLT PACE",
    "cpsc2018": "AFIB VPC NORM 1AVB CRBBB STE PAC CLBBB STD",
    "csn": (
        "AQW UW SR WPW 2AVB AT VB ARS STTC SA STE VPB TWO STTU ALS APB 2AVB1 PRIE CCR CR AF AVB QTIE LBBB VEB SVT RBBB "
        "1AVB STDD MI AFIB TWC PWC ERV RVH LVH ST JEB"
    ),
}
# Records per split: train, val, test.
_SIZES = {
    "ptbxl-super": (17084, 2146, 2158),
    "ptbxl-sub": (17084, 2146, 2158),
    "ptbxl-form": (7197, 901, 880),
    "ptbxl-rhythm": (16832, 2100, 2098),
    "cpsc2018": (4950, 551, 1376),
    "csn": (16546, 1860, 4620),
}
# Positive test records per label, in label order; csn with its substring errors.
_TEST_POSITIVES = {
    "ptbxl-super": (262, 963, 550, 496, 521),
    "ptbxl-sub": (306, 179, 214, 222, 327, 2, 54, 8, 42, 963, 128, 82, 10, 20, 40, 93, 77, 54, 8, 112, 2, 12, 79),
    "ptbxl-form": (40, 18, 6, 101, 34, 55, 87, 182, 3, 44, 322, 11, 1, 42, 3, 77, 114, 29, 18),
    "ptbxl-rhythm": (14, 8, 82, 77, 64, 2, 152, 1674, 3, 2, 7, 28),
    "cpsc2018": (250, 143, 184, 155, 357, 38, 120, 49, 162),
    "csn": (
        *(112, 10, 1404, 14, 4, 42, 169, 114, 186, 536, 93, 43, 232, 36, 210, 136, 1, 8, 38, 50, 987, 169, 32, 42, 5),
        *(128, 93, 126, 91, 15, 297, 968, 11, 68, 5, 22, 1281, 5),
    ),
}
# Positive records per label over all splits; not of csn, whose list of records depends on the label variant.
_POSITIVES = {
    "ptbxl-super": (2649, 9514, 5469, 4898, 5235),
    "ptbxl-form": (398, 181, 62, 1009, 340, 548, 875, 1825, 35, 438, 3327, 117, 10, 423, 28, 767, 1143, 294, 182),
    "ptbxl-rhythm": (157, 82, 826, 772, 637, 20, 1514, 16748, 27, 24, 73, 294),
    "cpsc2018": (1221, 700, 918, 722, 1857, 220, 616, 236, 869),
    # By name. By position, as @published takes the train rows, ISC, AVB and RAO/RAE differ.
    "ptbxl-sub": (
        *(3078, 1797, 2132, 2239, 3271, 29, 541, 79, 426, 9514, 1272, 823, 99, 201, 397, 941, 767, 536, 77, 1118, 17),
        *(126, 787),
    ),
}


def labels_of(label_set: str) -> tuple[str, ...]:
    """The labels of a task, in the order of MERL's (test) file."""
    return tuple(_LABELS[label_set].split())


def split_sizes(label_set: str) -> dict[str, int]:
    """Published records per split."""
    return dict(zip(("train", "val", "test"), _SIZES[label_set], strict=True))


def positives_in_test(label_set: str) -> dict[str, int]:
    """Published positive test records: ``{"HYP in test": 262, ...}``."""
    names = (f"{label} in test" for label in labels_of(label_set))
    return dict(zip(names, _TEST_POSITIVES[label_set], strict=True))


def positives(label_set: str) -> Mapping[str, int]:
    """Published positive records per label over all splits; empty for csn."""
    numbers = _POSITIVES.get(label_set)
    return MappingProxyType({} if numbers is None else dict(zip(labels_of(label_set), numbers, strict=True)))
