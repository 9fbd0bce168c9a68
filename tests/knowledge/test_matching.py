"""Class names of a cohort matched to the knowledge: order of rules, unions, and errors that help."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_knowledge import ecg, shapes

from medfm.core.errors import ConfigError, UnknownNameError
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.matching import folded, match_classes


def test_ids_names_synonyms_and_labels() -> None:
    found = match_classes(shapes(), ["circle", "Round Shape", "BOX", "E"], "fine")
    assert found == {"circle": ("circle",), "Round Shape": ("round",), "BOX": ("square",), "E": ("ellipse",)}


def test_blanks_hyphens_and_underscores_are_one() -> None:
    assert folded("  Sinus_brady-cardia ") == "sinus brady cardia"
    assert match_classes(ecg(), ["Atrial_Fibrillation", "atrial-flutter"]) == {
        "Atrial_Fibrillation": ("atrial_fibrillation",),
        "atrial-flutter": ("atrial_flutter",),
    }


def test_a_label_set_wins_over_synonyms() -> None:
    # "AF" is flutter in CSN, and elsewhere short for fibrillation.
    assert match_classes(ecg(), ["AF"], "csn") == {"AF": ("atrial_flutter",)}
    assert match_classes(ecg(), ["AF"]) == {"AF": ("atrial_fibrillation",)}


@pytest.mark.parametrize("name", sorted(ecg().label_sets))
def test_every_label_of_every_shipped_set(name: str) -> None:
    labels = ecg().label_set(name).labels
    assert match_classes(ecg(), list(labels), name) == {label: (class_id,) for label, class_id in labels.items()}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(ecg().classes)), st.sampled_from(["id", "name"]), st.booleans())
def test_every_id_and_name_means_its_own_class(entry, what: str, upper: bool) -> None:
    name = getattr(entry, what)
    name = name.upper() if upper and what == "name" else name
    assert entry.id in match_classes(ecg(), [name])[name]


def test_what_is_given_wins_and_may_be_a_union() -> None:
    given_ = {"AF/AFL": "atrial fibrillation+atrial_flutter", "SR": "normal sinus rhythm"}
    found = match_classes(ecg(), ["AF/AFL", "SR"], given=given_)
    assert found == {"AF/AFL": ("atrial_fibrillation", "atrial_flutter"), "SR": ("sinus_rhythm",)}
    assert match_classes(shapes(), ["circle"], given={"circle": "square+box"}) == {"circle": ("square",)}


def test_all_names_without_a_class_are_listed_with_near_ones() -> None:
    with pytest.raises(ConfigError) as error:
        match_classes(shapes(), ["circel", "square", "hexagon"])
    text = str(error.value)
    assert "'circel', 'hexagon'" in text and "did you mean 'circle'" in text
    assert "--map-class 'circel=CLASS'" in text and "--leave-out 'circel'" in text


def test_a_label_set_that_knows_them_is_named() -> None:
    with pytest.raises(ConfigError, match="label set 'ptbxl-rhythm' knows 3 of them"):
        match_classes(ecg(), ["SR", "SBRAD", "STACH"])


def test_grades_that_many_label_sets_know_are_guessed_by_none() -> None:
    """0 to 4 are steps of retinopathy, of myopia and of others: no single set may be advised."""
    with pytest.raises(ConfigError, match=r"\d+ label sets know 5 of them \(") as error:
        match_classes(load_knowledge("retina"), ["0", "1", "2", "3", "4"])
    text = str(error.value)
    assert "idrid" in text and "name yours with --label-set" in text and "knows 5" not in text


def test_a_wrong_target_of_a_mapping_is_shown() -> None:
    with pytest.raises(ConfigError, match=r"'R' \(mapped to 'rund'\)"):
        match_classes(shapes(), ["R"], given={"R": "rund"})
    with pytest.raises(ConfigError, match=r"mapped to 'circle\+rund'"):
        match_classes(shapes(), ["R"], given={"R": "circle+rund"})


def test_a_mapping_of_a_class_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no class 'circl'") as error:
        match_classes(shapes(), ["circle"], given={"circl": "circle"})
    assert "did you mean 'circle'" in str(error.value)


def test_a_word_of_two_classes_has_to_be_told_apart() -> None:
    doubled = shapes().model_copy(
        update={
            "classes": tuple(
                c.model_copy(update={"synonyms": ("thing",)}) if c.id in ("circle", "square") else c
                for c in shapes().classes
            )
        }
    )
    with pytest.raises(ConfigError, match="several classes: circle, square") as error:
        match_classes(doubled, ["thing"])
    assert "--map-class 'thing=circle'" in str(error.value)


def test_an_unknown_label_set() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fine'"):
        match_classes(shapes(), ["C"], "fin")


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_matched_or_refused_clearly(name: str) -> None:
    try:
        found = match_classes(shapes(), [name])
    except ConfigError as error:
        assert error.fix
    else:
        assert found[name]
