"""Terms and statements: properties over many texts, and the cases that decide what is kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_knowledge import ecg, shapes

from medfm.knowledge.ckepe import check_answer
from medfm.knowledge.terms import clauses, terms

VOCABULARY = "no P wave waves ST depression elevation V1-V4 V1 to V3 aVR -30 0.1 mV wide broad"
WORDS = st.lists(
    st.sampled_from(VOCABULARY.split()),
    max_size=8,
).map(" ".join)
TEXTS = st.text(alphabet="abVST 0123456789.,;:!?-–()\n'\"no", max_size=60)


@settings(max_examples=80, deadline=None)
@given(WORDS)
def test_case_and_spaces_do_not_matter(text: str) -> None:
    assert terms(text) == terms(text.upper()) == terms(f"  {text.replace(' ', '   ')} ")


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_any_text_is_cut_without_empty_statements(text: str) -> None:
    for statement in clauses(text):
        assert statement == statement.strip()
        assert statement
    assert all(term for term in terms(text))


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=4).map(", ".join))
def test_nothing_is_kept_that_was_not_said_nor_lost_without_a_reason(answer: str) -> None:
    kept, dropped = check_answer(shapes(), "circle", answer)
    assert len(kept) + len(dropped) == len(clauses(answer))
    assert all(d.reason for d in dropped)
    assert set(kept) <= {" ".join(c.split()) for c in clauses(answer)}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([c.id for c in ecg().classes]), WORDS)
def test_what_was_kept_is_kept_again(class_id: str, answer: str) -> None:
    kept, _ = check_answer(ecg(), class_id, answer)
    again, dropped = check_answer(ecg(), class_id, "\n".join(kept))
    assert (again, dropped) == (kept, ())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ST depression", "depressed ST"),
        ("widened QRS complexes", "broad QRS complex"),
        ("leads V1-V3", "V1, V2 and V3"),
        ("V3 to V1", "V1 to V3"),
        ("V1–V3", "V1 through V3"),
        ("Repolarisation", "repolarization"),
        ("without P waves", "no P wave"),
        ("P wave, no delta wave", "no delta waves; P waves"),
    ],
)
def test_the_same_in_other_words(one: str, other: str) -> None:
    assert terms(one) == terms(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ST depression", "ST elevation"),
        ("P waves", "no P waves"),
        ("no P waves, delta wave", "P waves, no delta wave"),
        ("above 120 ms", "below 120 ms"),
        ("V1 to V3", "V1 and V3"),
        ("0.1 mV", "1 mV"),
        ("axis of -45 degrees", "axis of 45 degrees"),
        ("clockwise", "counterclockwise"),
    ],
)
def test_what_must_stay_apart(one: str, other: str) -> None:
    assert terms(one) != terms(other)
