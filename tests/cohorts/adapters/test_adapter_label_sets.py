"""Every retina and histopathology cohort that an adapter writes names the label set of its classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cohort_pictures import save

from medfm.cohorts.adapters import get_adapter, list_adapters, prepare
from medfm.cohorts.adapters.patches import PatchAdapter, label_set_name
from medfm.cohorts.adapters.retina import GLAUCOMA, ICDR
from medfm.cohorts.load import load_cohort
from medfm.core.errors import ConfigError
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.protocol_zero_shot import ZeroShot
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.matching import folded, match_classes
from medfm.workflows.zero_shot_prompts import questions
from medfm.workflows.zero_shot_target import scope_of

DOMAINS = ("retina", "histopathology")
# Folder names of the release, numbers first.
JSIEC = """0.0.Normal|0.1.Tessellated fundus|0.2.Large optic cup|0.3.DR1|1.0.DR2|1.1.DR3|2.0.BRVO|2.1.CRVO|3.RAO|
4.Rhegmatogenous RD|5.0.CSCR|5.1.VKH disease|6.Maculopathy|7.ERM|8.MH|9.Pathological myopia|10.0.Possible glaucoma|
10.1.Optic atrophy|11.Severe hypertensive retinopathy|12.Disc swelling and elevation|13.Dragged Disc|
14.Congenital disc abnormality|15.0.Retinitis pigmentosa|15.1.Bietti crystalline dystrophy|
16.Peripheral retinal degeneration and break|17.Myelinated nerve fiber|18.Vitreous particles|19.Fundus neoplasm|
20.Massive hard exudates|21.Yellow-white spots-flecks|22.Cotton-wool spots|23.Vessel tortuosity|
24.Chorioretinal atrophy-coloboma|25.Preretinal hemorrhage|26.Fibrosis|27.Laser Spots|28.Silicon oil in eye|
29.0.Blur fundus without PDR|29.1.Blur fundus with suspected PDR""".replace("\n", "").split("|")
# What the adapters of photographs write into `label`, said here once more.
RETINA = {
    "acrima": tuple(GLAUCOMA),
    "aptos2019": tuple(ICDR),
    "deepdrid": tuple(ICDR),
    "fives": ("normal", "age-related macular degeneration", "diabetic retinopathy", "glaucoma"),
    "idrid-dr": tuple(ICDR),
    "idrid-dme": ("0", "1", "2"),
    "jsiec": tuple(name.split(".")[-1] for name in JSIEC),
    "messidor-dr": ("0", "1", "2", "3"),
    "messidor-dme": ("0", "1", "2"),
    "messidor2-dr": tuple(ICDR),
    "messidor2-dme": ("0", "1"),
    "mmac": ("0", "1", "2", "3", "4"),
    "odir5k-patient": (
        "normal",
        "diabetes",
        "glaucoma",
        "cataract",
        "age_related_macular_degeneration",
        "hypertension",
        "pathological_myopia",
        "other",
    ),
    "odir5k-eye3": ("normal", "pathologic myopia", "cataract"),
    "refuge": tuple(GLAUCOMA),
}
COHORTS = [
    (adapter.modality, name)
    for adapter in map(get_adapter, list_adapters())
    if adapter.modality in DOMAINS and "text" not in adapter.columns
    for name in adapter.cohort_names()
]
PATCHES = [name for modality, name in COHORTS if modality == "histopathology"]


def classes_of(name: str) -> list[str]:
    adapter = get_adapter(name)
    if isinstance(adapter, PatchAdapter):
        return list(dict.fromkeys(adapter.names.values()))
    return list(RETINA[name])


def test_every_cohort_of_the_retina_is_in_the_list_above() -> None:
    assert {name for modality, name in COHORTS if modality == "retina"} == set(RETINA)


@pytest.mark.parametrize(("domain", "name"), COHORTS)
def test_the_label_set_exists_and_covers_exactly_the_classes(domain: str, name: str) -> None:
    knowledge = load_knowledge(domain)
    adapter = get_adapter(name)
    assert adapter.label_set is not None
    chosen = knowledge.label_set(adapter.label_set)
    classes = classes_of(name)
    asked = [label for label in classes if label not in chosen.unasked]
    assert set(classes) - set(asked) == set(chosen.unasked)
    found = match_classes(knowledge, asked, adapter.label_set)
    ids = [class_id for label in asked for class_id in found[label]]
    assert len(ids) == len(asked) == len(set(ids)), "a class of the cohort has several texts, or shares one"
    assert set(ids) == set(chosen.labels.values())


@pytest.mark.parametrize("name", PATCHES)
def test_a_variant_is_asked_in_the_words_of_its_paper(name: str) -> None:
    adapter = get_adapter(name)
    assert isinstance(adapter, PatchAdapter) and adapter.label_set == label_set_name(name)
    chosen = load_knowledge("histopathology").label_set(adapter.label_set)
    if adapter.labelling == "official":
        assert not chosen.names and not chosen.templates
        assert set(chosen.labels) == set(adapter.names.values())
        return
    words = {folded(text) for text in chosen.names.values()}
    # WSSS4LUAD's two labels are codes, asked as "tumor tissue" and "normal tissue".
    assert words == {folded(text) for text in adapter.names.values()} or set(chosen.labels) == set(
        adapter.names.values()
    )
    assert chosen.templates


@pytest.mark.parametrize(
    ("cohort", "label_set"),
    [
        ("sicapv2@quilt", "sicapv2-quilt"),
        ("sicapv2@quilt-descriptions", "sicapv2-quilt-descriptions"),
        ("nct_crc", "nct-crc"),
        ("lc25000-colon@pathgen", "lc25000-colon-pathgen"),
        ("renal_cell@quilt", "renal-cell-quilt"),
    ],
)
def test_names_of_label_sets(cohort: str, label_set: str) -> None:
    assert get_adapter(cohort).label_set == label_set


def test_messidors_own_scale_is_not_the_international_one() -> None:
    knowledge = load_knowledge("retina")
    own, other = (knowledge.label_set(str(get_adapter(n).label_set)) for n in ("messidor-dr", "messidor2-dr"))
    assert not set(own.labels.values()) & set(other.labels.values())
    assert own.grades and other.grades


def test_every_folder_of_jsiec_is_read_with_one_number_or_two(tmp_path: Path) -> None:
    for i, folder in enumerate(JSIEC):
        save(tmp_path / "in" / "1000images" / folder / f"{i}.jpg", i)
    (tmp_path / "in" / "1000images" / "notes").mkdir()
    prepared = prepare("jsiec", tmp_path / "in", tmp_path / "out", allow_partial=True)
    table = load_cohort(prepared.table, check=False).table
    assert sorted(table["label"]) == sorted(RETINA["jsiec"]) and len(table) == 39
    codes = dict(zip(table["label"], table["class_code"].astype(str), strict=True))
    assert codes["DR1"] == "0.3" and codes["Blur fundus without PDR"] == "29.0"
    assert float(codes["RAO"]) == 3


def nct(root: Path, copies: int = 2) -> Path:
    for part in ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K"):
        for j, code in enumerate(get_adapter("nct_crc").names):  # type: ignore[attr-defined]
            for i in range(copies):
                save(root / part / code / f"{code}-{i}.tif", 10 * i + j)
    return root


@pytest.mark.parametrize("name", ["nct_crc", "nct_crc@quilt", "nct_crc@pathgen"])
def test_the_table_says_its_label_set_and_can_be_asked_by_it(tmp_path: Path, name: str) -> None:
    prepared = prepare(name, nct(tmp_path / "in"), tmp_path / "out", allow_partial=True)
    cohort = load_cohort(prepared.table, check=False)
    assert cohort.info["label_set"] == get_adapter(name).label_set
    variant = name.partition("@")[2]
    protocol = load_protocol(f"{variant}-zeroshot@1" if variant else "zero-shot@1")
    assert isinstance(protocol.method, ZeroShot)
    scope = scope_of(cohort, None, protocol.method)
    assert len(scope.truth.classes) == len(classes_of(name))
    asked = questions(
        protocol.method,
        scope.truth.classes,
        modality=cohort.modality,
        label_set=cohort.info["label_set"],
    )
    texts = asked.asked[0].prompts.texts()
    if variant == "pathgen":
        assert "An H&E patch of background" in texts and len(texts) == 9
    if variant == "quilt":
        assert "presence of debris tissue on image" in texts and len(texts) == 32
    assert not any("paper's list" in note for note in asked.notes)


@pytest.mark.parametrize(("variant", "other"), [("quilt", "pathgen"), ("pathgen", "quilt"), ("official", "quilt")])
def test_a_papers_protocol_refuses_the_words_of_another(variant: str, other: str) -> None:
    adapter = get_adapter(f"nct_crc@{variant}")
    assert isinstance(adapter, PatchAdapter)
    method = load_protocol(f"{other}-zeroshot@1").method
    assert isinstance(method, ZeroShot)
    with pytest.raises(ConfigError, match="other ones") as caught:
        questions(method, list(adapter.names.values()), modality="histopathology", label_set=adapter.label_set)
    assert f"'{other}'" in str(caught.value) and f"'{adapter.label_set}'" in str(caught.value)
    assert f"the label set nct-crc-{other}\n" in str(caught.value)


def test_a_papers_label_set_is_advised_only_where_there_is_one() -> None:
    method = load_protocol("pathgen-zeroshot@1").method
    assert isinstance(method, ZeroShot)
    for given, advised in (
        ("mhist-quilt", "'-pathgen' in its name"),
        ("lc25000-lung-quilt", "set lc25000-lung-pathgen"),
    ):
        with pytest.raises(ConfigError, match="other ones") as caught:
            questions(method, ["a"], modality="histopathology", label_set=given)
        assert advised in str(caught.value)


def test_a_label_set_that_lacks_a_class_is_named_with_the_class() -> None:
    knowledge = load_knowledge("histopathology")
    with pytest.raises(ConfigError) as caught:
        match_classes(knowledge, ["adipose", "cartilage of the ear"], "nct-crc-quilt")
    message = str(caught.value)
    assert "'cartilage of the ear'" in message and "label set 'nct-crc-quilt' does not cover" in message
    assert "'adipose'" not in message and "ADI, DEB" in message


def test_the_label_without_a_text_is_left_out_and_said(tmp_path: Path) -> None:
    labels = get_adapter("odir5k-patient").labels
    head = ["ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus"]
    head += ["Left-Diagnostic Keywords", "Right-Diagnostic Keywords", *"NDGCAHMO"]
    rows = [",".join(head)]
    for i in range(8):
        save(tmp_path / "in" / f"{i}_left.jpg", i)
        save(tmp_path / "in" / f"{i}_right.jpg", 20 + i)
        flags = ["1" if j == i else "0" for j in range(8)]
        rows.append(f"{i},60,Male,{i}_left.jpg,{i}_right.jpg,a,b,{','.join(flags)}")
    (tmp_path / "in" / "Annotations.csv").write_text("\n".join(rows))
    cohort = load_cohort(
        prepare("odir5k-patient", tmp_path / "in", tmp_path / "out", allow_partial=True).table, check=False
    )
    method = load_protocol("zero-shot@1").method
    assert isinstance(method, ZeroShot)
    scope = scope_of(cohort, None, method)
    assert scope.truth.classes == tuple(label for label in labels if label != "other")
    assert any("'other' is not asked" in note for note in scope.notes)
    assert scope_of(cohort, ["other", "normal"], method).truth.classes == ("other", "normal")
