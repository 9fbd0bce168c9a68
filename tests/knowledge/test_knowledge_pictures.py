"""The knowledge of retina and histopathology: sources everywhere, the papers' class lists, our own words."""

from __future__ import annotations

import re

import pytest

from medfm.knowledge.load import load_knowledge
from medfm.knowledge.matching import match_classes
from medfm.knowledge.prompts import build_prompts
from medfm.knowledge.published import as_published, published_names

DOMAINS = ("retina", "histopathology")
# Class lists as the papers' code has them, in its order (Quilt: eval/en_classnames.json).
QUILT = {
    "pcam-quilt": "lymph node|lymph node containing metastatic tumor tissue",
    "nct-crc-quilt": "adipose|debris|lymphocytes|mucus|smooth muscle|normal colon mucosa|cancer-associated stroma|"
    "colorectal adenocarcinoma epithelium",
    "lc25000-lung-quilt": "lung adenocarcinoma|benign lung|lung squamous cell carcinoma",
    "lc25000-colon-quilt": "colon adenocarcinoma|benign colonic tissue",
    "mhist-quilt": "hyperplastic polyp|sessile serrated adenoma",
    "sicapv2-quilt": "benign glands|atrophic dense glands|cribriform ill-formed fused papillary patterns|"
    "isolated nest cells without lumen roseting patterns",
    "databiox-quilt": "well differentiated bloom richardson grade one|moderately differentiated bloom richardson grade "
    "two|poorly differentiated grade three",
    "osteo-quilt": "non-tumor|non-viable necrotic osteosarcoma tumor|viable osteosarcoma tumor",
    "bach-quilt": "breast non-malignant benign tissue|breast malignant in-situ carcinoma|breast malignant invasive "
    "carcinoma|breast normal breast tissue",
    "renal-cell-quilt": "red blood cells|renal cancer|normal renal tissue|torn adipose necrotic tissue|muscle fibrous "
    "stroma blood vessels",
    "skincancer-tissue-quilt": "necrosis|skeletal muscle|eccrine sweat glands|vessels|elastosis|chondral tissue|hair follicle|"
    "epidermis|nerves|subcutis|dermis|sebaceous glands|squamous-cell carcinoma|melanoma in-situ|basal-cell "
    "carcinoma|naevus",
    "skincancer-tumor-quilt": "squamous-cell carcinoma|melanoma in-situ|basal-cell carcinoma|naevus",
}
PATHGEN = {
    "nct-crc-pathgen": 9, "lc25000-lung-pathgen": 3, "lc25000-colon-pathgen": 2, "sicapv2-pathgen": 4,
    "bach-pathgen": 4, "osteo-pathgen": 3, "skincancer-tissue-pathgen": 16, "wsss4luad-pathgen": 2, "pcam-pathgen": 2,
    "skincancer-tumor-pathgen": 4,
}  # fmt: skip
GRADES = ["no", "mild", "moderate", "severe", "proliferative"]
RETINA = {
    "messidor": 5, "idrid": 5, "aptos": 5, "eyepacs": 5, "deepdrid": 5, "ddr": 6, "idrid-dme": 3, "messidor-dme": 2,
    "fives": 4, "refuge": 2, "acrima": 2, "airogs": 2, "papila": 3, "odir": 7, "odir-200x3": 3, "jsiec-20x3": 3,
    "mmac": 5, "cgi-hrdc-1": 2, "cgi-hrdc-2": 2, "brset": 12, "rfmid": 45, "rop": 5, "referable-dr": 2,
    "messidor1-dr": 4, "messidor1-dme": 3, "odir5k-patient": 7, "jsiec": 39,
}  # fmt: skip


def asked(domain: str, label_set: str) -> list[str]:
    knowledge = load_knowledge(domain)
    names = published_names(knowledge, label_set)
    return [names[class_id] for class_id in knowledge.label_set(label_set).labels.values()]


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_class_has_a_source_a_finding_and_no_code(domain: str) -> None:
    knowledge = load_knowledge(domain)
    assert knowledge.sources_required and knowledge.reviewed_by == "none"
    for entry in knowledge.classes:
        assert entry.sources and entry.findings, entry.id
        assert not entry.codes, entry.id  # none was looked up
        for source in entry.sources:
            assert re.search(r"(19|20)\d\d|NHS", source.standard), (entry.id, source.standard)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_name_or_synonym_means_one_class(domain: str) -> None:
    seen: dict[str, str] = {}
    for entry in load_knowledge(domain).classes:
        for text in (entry.name, *entry.synonyms):
            folded = re.sub(r"[\s_-]+", " ", text).casefold()
            assert seen.setdefault(folded, entry.id) == entry.id, text


@pytest.mark.parametrize("domain", DOMAINS)
def test_two_classes_are_never_asked_in_the_same_words(domain: str) -> None:
    knowledge = load_knowledge(domain)
    for name, label_set in knowledge.label_sets.items():
        assert len(set(label_set.labels.values())) == len(label_set.labels), name
        assert len(set(asked(domain, name))) == len(label_set.labels), name
        for strategy in ("descriptors@1", "expert@1", "templates@1", "findings@1"):
            made = build_prompts(as_published(knowledge, name), name, strategy)
            groups = [frozenset(p.text for g in c.groups for p in g) for c in made.classes]
            assert len(set(groups)) == len(groups), (name, strategy)


@pytest.mark.parametrize("key", QUILT)
def test_quilts_lists_in_their_order(key: str) -> None:
    assert asked("histopathology", key) == QUILT[key].split("|")
    assert "quilt1m" in load_knowledge("histopathology").label_set(key).source


@pytest.mark.parametrize("key", PATHGEN)
def test_pathgens_lists_have_their_size_and_one_template(key: str) -> None:
    label_set = load_knowledge("histopathology").label_set(key)
    assert len(label_set.labels) == PATHGEN[key] and len(label_set.templates) == 1
    assert "PathGen-1.6M at 308b5a2" in label_set.source


def test_the_two_papers_count_nct_differently() -> None:
    knowledge = load_knowledge("histopathology")
    quilt, pathgen = (set(knowledge.label_set(f"nct-crc-{p}").labels) for p in ("quilt", "pathgen"))
    assert pathgen - quilt == {"BACK"} and quilt < pathgen


@pytest.mark.parametrize("key", RETINA)
def test_sets_of_the_retina(key: str) -> None:
    assert len(load_knowledge("retina").label_set(key).labels) == RETINA[key]


def test_no_set_is_left_untested() -> None:
    assert set(load_knowledge("retina").label_sets) == set(RETINA)
    others = {"unitopatho", "pannuke-binary", "gleason-isup", "sicapv2-quilt-descriptions"}
    found = set(load_knowledge("histopathology").label_sets)
    # Those of the releases themselves are tested with the adapters that write them.
    released = {name for name in found if not load_knowledge("histopathology").label_set(name).names} - others
    assert found - released == {*QUILT, *PATHGEN, *others}
    assert len(released) == 13


@pytest.mark.parametrize("key", ["messidor", "idrid", "aptos", "eyepacs", "deepdrid"])
def test_flairs_names_of_the_grades(key: str) -> None:
    assert asked("retina", key) == [f"{grade} diabetic retinopathy" for grade in GRADES]


def test_flairs_other_names() -> None:
    assert asked("retina", "fives") == [
        "normal",
        "age related macular degeneration",
        "diabetic retinopathy",
        "glaucoma",
    ]
    assert asked("retina", "refuge") == ["no glaucoma", "glaucoma"]
    assert asked("retina", "mmac")[0] == "myopic maculopathy grade cero"
    assert asked("retina", "odir-200x3") == ["normal", "pathologic myopia", "cataract"]


@pytest.mark.parametrize(
    ("domain", "name", "wanted"),
    [
        ("retina", "Moderate NPDR", "dr_moderate"),
        ("retina", "AMD", "amd"),
        ("retina", "No Glaucoma", "glaucoma_none"),
        ("retina", "papilloedema", "disc_oedema"),
        ("histopathology", "lung_aca", "lung_adenocarcinoma"),
        ("histopathology", "TUM", "colorectal_adenocarcinoma"),
        ("histopathology", "In-Situ Carcinoma", "breast_in_situ"),
        ("histopathology", "SSA", "sessile_serrated"),
    ],
)
def test_names_of_cohorts_find_their_class(domain: str, name: str, wanted: str) -> None:
    assert match_classes(load_knowledge(domain), [name]) == {name: (wanted,)}


def test_thresholds_of_the_standards() -> None:
    def criteria(domain: str, class_id: str) -> str:
        return " ".join(f.criterion or "" for f in load_knowledge(domain).entry(class_id).findings)

    assert "more than 20" in criteria("retina", "dr_severe")
    assert "63 to 125" in criteria("retina", "amd_early") and "larger than 125" in criteria(
        "retina", "amd_intermediate"
    )
    assert [criteria("histopathology", f"isup_{i}").split()[-1] for i in (2, 3, 4)] == ["3+4", "4+3", "8"]
    assert [criteria("histopathology", f"breast_grade_{i}") for i in (1, 2, 3)] == [
        "score 3 to 5",
        "score 6 or 7",
        "score 8 or 9",
    ]


@pytest.mark.parametrize("key", [*QUILT, *PATHGEN])
def test_cohorts_that_write_the_published_names_find_their_classes(key: str) -> None:
    """Names as a paper writes them, in any case, are labels too."""
    knowledge = load_knowledge("histopathology")
    label_set = knowledge.label_set(key)
    names = [label_set.names[label].lower() for label in label_set.labels]
    found = match_classes(knowledge, names, key)
    assert [found[name] for name in names] == [(class_id,) for class_id in label_set.labels.values()]
