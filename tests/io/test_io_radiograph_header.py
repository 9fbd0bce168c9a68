"""What the header says of a radiograph: views, orientation, spacing; wrong elements are passed over or named."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset
from radiograph_files import DX, SC

from medfm.core.errors import ReadError
from medfm.io.radiograph_header import ELEMENTS, RADIOGRAPHS, about, kind_of, whole_number, word


def header(**elements: Any) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def coded(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    return item


@pytest.mark.parametrize(
    ("elements", "view", "plane"),
    [
        ({"ViewPosition": "PA"}, "PA", "frontal"),
        ({"ViewPosition": " ap "}, "AP", "frontal"),
        ({"ViewPosition": "LL"}, "LL", "lateral"),
        ({"ViewPosition": "RLAT"}, "RL", "lateral"),
        ({"ViewPosition": "LATERAL"}, "LL", "lateral"),
        ({"ViewPosition": "SMITH"}, "unknown", None),
        ({"ViewPosition": ""}, "unknown", None),
        ({}, "unknown", None),
        ({"ViewCodeSequence": [coded("272479007")]}, "PA", "frontal"),
        ({"ViewCodeSequence": [coded("R-10206")]}, "AP", "frontal"),
        ({"ViewCodeSequence": [coded("399173006")]}, "LL", "lateral"),
        ({"ViewCodeSequence": []}, "unknown", None),
        ({"ViewPosition": "AP", "ViewCodeSequence": [coded("272479007")]}, "AP", "frontal"),
        ({"PatientOrientation": ["L", "F"]}, "unknown", "frontal"),
        ({"PatientOrientation": ["A", "F"]}, "unknown", "lateral"),
        ({"PatientOrientation": ["P", "FR"]}, "unknown", "lateral"),
        ({"PatientOrientation": ["F", "L"]}, "unknown", "frontal"),
    ],
)
def test_views_and_planes(elements: dict[str, Any], view: str, plane: str | None) -> None:
    facts = about(header(**elements))
    assert (facts["view"], facts.get("plane")) == (view, plane)
    assert ("view_source" in facts) is (view != "unknown")


@pytest.mark.parametrize("value", [["L"], ["L", "F", "X"], ["NAME", "F"], ["", ""], ["L", "FOOT"], "L"])
def test_an_orientation_of_another_form_is_passed_over(value: Any) -> None:
    assert "patient_orientation" not in about(header(PatientOrientation=value))


def test_the_codes_of_views_are_those_of_the_standard() -> None:
    from pydicom.sr.codedict import codes

    from medfm.io.radiograph_header import _VIEW_CODES

    expected = {"AnteroPosterior": "AP", "PosteroAnterior": "PA", "LeftLateral": "LL", "RightLateral": "RL"}
    for name, view in expected.items():
        assert _VIEW_CODES[getattr(codes.cid4010, name).value] == view


@pytest.mark.parametrize(
    ("elements", "spacing", "at"),
    [
        ({"ImagerPixelSpacing": [0.1, 0.2]}, [0.1, 0.2], "detector"),
        ({"PixelSpacing": [0.3, 0.3]}, [0.3, 0.3], "stated"),
        ({"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.3, 0.3]}, [0.1, 0.1], "detector"),
        (
            {"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.3, 0.3], "PixelSpacingCalibrationType": "GEOMETRY"},
            [0.3, 0.3],
            "calibrated",
        ),
        ({"ImagerPixelSpacing": [0, 0], "PixelSpacing": [0.3, 0.3]}, [0.3, 0.3], "stated"),
        ({"PixelSpacing": [0.0, 0.0]}, None, None),
        ({"PixelSpacing": [-1, 1]}, None, None),
    ],
)
def test_spacing_is_of_the_detector_unless_calibrated(elements: dict[str, Any], spacing: Any, at: str | None) -> None:
    facts = about(header(**elements))
    assert (facts.get("spacing_mm"), facts.get("spacing_at")) == (spacing, at)


def test_aspect_side_and_flags() -> None:
    assert about(header(PixelAspectRatio=[2, 1]))["pixel_aspect"] == 2
    assert "pixel_aspect" not in about(header(PixelAspectRatio=[1, 1]))
    facts = about(
        header(ImageLaterality="U", BurnedInAnnotation="YES", LossyImageCompression="01", BodyPartExamined="CHEST")
    )
    assert (facts["laterality"], facts["burned_in"], facts["lossy"], facts["body_part"]) == ("U", True, True, "chest")
    facts = about(header(Laterality="SMITH", BurnedInAnnotation="MAYBE", BodyPartExamined="SMITH"))
    assert set(facts) == {"view", "body_part"} and facts["body_part"] == "other"


def test_kinds_are_told_by_class_and_modality() -> None:
    for uid, kind in RADIOGRAPHS.items():
        assert kind_of(header(SOPClassUID=uid), "r") == kind
    assert kind_of(header(SOPClassUID=SC, Modality="OT"), "r") == "SC"
    for modality in ("MG", "CT", "US", "XA", "IO"):
        with pytest.raises(ReadError, match="no chest radiograph"):
            kind_of(header(SOPClassUID=DX, Modality=modality), "r")
    for uid in ("", "1.2.3", "1.2.840.10008.5.1.4.1.1.66"):
        with pytest.raises(ReadError) as caught:
            kind_of(header(SOPClassUID=uid), "r")
        assert "1.2.3" not in str(caught.value)


def test_whole_numbers_and_words() -> None:
    assert whole_number(header(Rows=5), "Rows", "r") == 5
    assert whole_number(header(), "Rows", "r", 7) == 7
    with pytest.raises(ReadError, match="does not say Rows"):
        whole_number(header(), "Rows", "r")

    class Broken:
        def get(self, _: str) -> Any:
            raise TypeError("Smith")

    with pytest.raises(ReadError, match="value representation") as caught:
        whole_number(Broken(), "Rows", "r")
    assert "Smith" not in str(caught.value)
    assert word(Broken(), "Modality") == "" and word(header(Modality=" dx"), "Modality") == "DX"


def test_no_element_of_the_patient_is_parsed() -> None:
    names = {name for name in ELEMENTS if isinstance(name, str)}
    forbidden = (
        "PatientName",
        "PatientID",
        "Study",
        "Date",
        "Time",
        "Physician",
        "Institution",
        "Comment",
        "Accession",
    )
    assert not [name for name in names if any(part in name for part in forbidden)]
    assert len(names) == len([name for name in ELEMENTS if isinstance(name, str)])
