"""AML-Cytomorphology MLL Helmholtz (Hehr 2023): bags of single cells with the patient's genetic subtype."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Row, images_in, relative

# Folder name in the release -> label.
CLASSES = {
    "CBFB_MYH11": "CBFB::MYH11",
    "NPM1": "NPM1",
    "PML_RARA": "PML::RARA",
    "RUNX1_RUNX1T1": "RUNX1::RUNX1T1",
    "control": "control",
}


class AmlHehr(Adapter):
    """One folder per patient under a folder per class; every cell carries its patient's label."""

    id = "aml_hehr"
    title = "AML-Cytomorphology MLL Helmholtz (Hehr 2023)"
    aliases = ("AML Hehr", "AML-Cytomorphology_MLL_Helmholtz", "AML_Hehr")
    layout = "data/CLASS/PATIENT/*.tif with the classes " + ", ".join(CLASSES)
    where = "The Cancer Imaging Archive, collection AML-Cytomorphology_MLL_Helmholtz"
    licence = "CC BY 4.0 (TCIA; read the collection's page before use)"
    citation = "Hehr M. et al., PLOS Digital Health 2 (2023) e0000187"
    task = "genetic subtype of the patient, 5 classes, one bag of cells per patient"
    expected = {"patients": 189}
    unverified = (
        "the number of images: the paper says over 80,000, DinoBloom's list 101,949; only the 189 patients (129 with "
        "AML, 60 controls) are enforced",
        "no official split is part of the release",
    )
    patients = True
    columns = ("genetic_folder",)

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per cell; ``patient_id`` is the patient's folder (prefixed by its class)."""
        root = next((f for f in (source, source / "data") if any((f / c).is_dir() for c in CLASSES)), None)
        if root is None:
            raise self.missing(source, "there are no class folders")
        for folder, label in CLASSES.items():
            if not (root / folder).is_dir():
                continue
            for patient in sorted(d for d in (root / folder).iterdir() if d.is_dir() and not d.name.startswith(".")):
                for file in images_in(patient):
                    yield {
                        "path": relative(file, source),
                        # Folder names are unique in the release; the class is added to be safe against copies.
                        "patient_id": f"{folder}/{patient.name}",
                        "label": label,
                        "genetic_folder": folder,
                    }


AML_HEHR = AmlHehr()
