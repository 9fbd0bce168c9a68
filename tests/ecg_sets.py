"""Small folders in the official layouts of the public ECG sets, written here with invented contents."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
SECRET = "MUSTERMANN-1950"

# Facts of scp_statements.csv: statement, diagnostic, form, rhythm, class, subclass.
STATEMENTS = (
    ("NORM", 1, 0, 0, "NORM", "NORM"),
    ("IMI", 1, 0, 0, "MI", "IMI"),
    ("LVH", 1, 0, 0, "HYP", "LVH"),
    ("RAO/RAE", 1, 0, 0, "HYP", "RAO/RAE"),
    ("1AVB", 1, 0, 0, "CD", "_AVB"),
    ("CRBBB", 1, 0, 0, "CD", "CRBBB"),
    ("ISC_", 1, 0, 0, "STTC", "ISC_"),
    ("NST_", 1, 1, 0, "STTC", "NST_"),
    ("NDT", 1, 1, 0, "STTC", "STTC"),
    ("PVC", 0, 1, 0, "", ""),
    ("PRC(S)", 0, 1, 0, "", ""),
    ("SR", 0, 0, 1, "", ""),
    ("AFIB", 0, 0, 1, "", ""),
)
# Acronyms and codes as in ConditionNames_SNOMED-CT.csv; one code stands for several of them.
CONDITIONS = (
    ("1AVB", "270492004"),
    ("AVB", "233917008"),
    ("LBBB", "164909002"),
    ("LFBBB", "164909002"),
    ("LVQRSAL", "251146004"),
    ("MI", "164865005"),
    ("MIBW", "164865005"),
    ("STTC", "428750005"),
    ("TWC", "164934002"),
    ("VB", "11157007"),
    ("VPE", "195060002"),
    ("SB", "426177001"),
    ("SR", "426783006"),
    ("AFIB", "164889003"),
    ("ST", "427084000"),
    ("AF", "164890007"),
    ("SA", "427393009"),
    ("RBBB", "59118001"),
)


def write_record(header: Path, comments: Sequence[str] = (), seed: int = 0, samples: int = 200, hz: int = 500) -> Path:
    """A readable WFDB record at `hz` with these comment lines."""
    header.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(seed).normal(0, 300, (samples, 12))
    one, two = wave[:, 0], wave[:, 1]
    # Limb leads as Einthoven and Goldberger have them: a check would rightly refuse others.
    wave[:, 2:6] = np.stack([two - one, -(one + two) / 2, one - two / 2, two - one / 2], axis=1)
    wave = np.round(wave).astype("<i2")
    header.with_suffix(".dat").write_bytes(wave.tobytes())
    name = header.stem
    lines = [f"{name} 12 {hz} {samples}", *(f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
    header.write_text("\n".join([*lines, *comments]) + "\n")
    return header


def comments(codes: str, age: str = "74", sex: str = "Male") -> list[str]:
    """Comment lines of the PhysioNet challenges, with lines that must never be read."""
    return [f"#Name: {SECRET}", f"#Age: {age}", f"#Sex: {sex}", f"#Dx: {codes}", f"#Hx: {SECRET}"]


def write_ptbxl(
    root: Path, records: Mapping[int, Mapping[str, object]], files: bool = True, low_rate: bool = False
) -> Path:
    """``ptbxl_database.csv`` with one row per id; `records` overrides its cells."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "scp_statements.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["", "description", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"])
        for code, *flags, kind, sub in STATEMENTS:
            writer.writerow([code, "words, of a statement", *("1.0" if f else "" for f in flags), kind, sub])
    rows = []
    for number, given in records.items():
        row = {
            "ecg_id": number,
            "patient_id": f"{15000 + number}.0",
            "age": "56.0",
            "sex": 1,
            "site": "0.0",
            "device": "CS-12   E",
            "recording_date": "1984-11-09 09:17:34",
            "nurse": "2.0",
            "report": "sinusrhythmus\nnormales ekg",
            "scp_codes": "{'NORM': 100.0, 'SR': 0.0}",
            "validated_by_human": "True",
            "strat_fold": 1 + (number - 1) % 10,
            "filename_lr": f"records100/00000/{number:05d}_lr",
            "filename_hr": f"records500/00000/{number:05d}_hr",
            **given,
        }
        rows.append(row)
        if files:
            write_record(root / f"{row['filename_hr']}.hea", seed=number)
            if low_rate:
                write_record(root / f"{row['filename_lr']}.hea", seed=number, hz=100)
    with (root / "ptbxl_database.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return root


def write_csn(root: Path, records: Mapping[str, str], header: str = "Acronym Name,Full Name,Snomed_CT") -> Path:
    """``WFDBRecords/NN/NNN/JSNNNNN.hea``: name -> the text behind ``#Dx:``."""
    root.mkdir(parents=True, exist_ok=True)
    table = [header, *(f"{acronym},words,{code}" for acronym, code in CONDITIONS)]
    (root / "ConditionNames_SNOMED-CT.csv").write_text("\n".join(table) + "\n", encoding="utf-8-sig")
    for i, (name, codes) in enumerate(records.items()):
        write_record(root / "WFDBRecords" / "01" / f"{i // 3:03d}" / f"{name}.hea", comments(codes), seed=i)
    return root


def write_split_files(root: Path, stem: str, columns: Mapping[str, Sequence[str]], rows: Mapping[str, list]) -> Path:
    """MERL's three files of a task: split -> column names, split -> rows."""
    for split in ("train", "val", "test"):
        file = root / f"{stem}_{split}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(columns[split])
            writer.writerows(rows[split])
    return root


def read_table(table: Path) -> dict[str, dict[str, str]]:
    """The written rows by record id, cells as text."""
    with table.open(newline="") as handle:
        return {row["record_id"]: row for row in csv.DictReader(handle)}
