"""Which texts a record may be shown with, and the draw of a step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError, TrainingError
from medfm.training.pair_texts import TextChoices, text_choices, usable
from medfm.training.towers_config import FlairText, TowersText

TABLE = pd.DataFrame(
    {
        "text": ["Right eye. Cup 0.3. No DR", "OD.  Mild NPDR!", "Same text", "Same text"],
        "label": [0, 1, 4, 0],
        "more": ["drusens|no cataract", "", np.nan, "normal"],
    }
)
GRADES = {"column": "label", "label_set": "idrid"}


def rule(**changes: Any) -> FlairText:
    return FlairText(**{"source": "categories", "categories": [GRADES], **changes})


def test_whole_reports_are_partners_where_they_are_equal() -> None:
    found = text_choices(TABLE, TowersText(), "retina")
    assert found.texts == ("Right eye. Cup 0.3. No DR", "OD.  Mild NPDR!", "Same text")
    assert [own[0] for own in found.options] == [(0, (0,)), (1, (1,)), (2, (2,)), (2, (2,))]


def test_prompts_of_categories() -> None:
    found = text_choices(TABLE, rule(knowledge=False), "retina")
    assert found.categories == (
        "no diabetic retinopathy",
        "mild diabetic retinopathy",
        "proliferative diabetic retinopathy",
    )
    assert found.texts[0] == "A fundus photograph of no diabetic retinopathy"
    assert [own[0][0] for own in found.options] == [0, 1, 2, 0]
    richer = text_choices(TABLE, rule(), "retina")
    assert {len(own[0][1]) for own in richer.options} != {1}
    assert "A fundus photograph of mild NPDR" in richer.texts
    assert not any(text.endswith(".") for text in richer.texts)
    assert richer.options[0] == richer.options[3]


def test_reports_with_categories() -> None:
    found = text_choices(TABLE, rule(source="reports"), "retina")
    assert found.options[0] == ((0, (0,)),) and found.options[3] == ((0, (2,)),)
    assert found.options[2] == ((2, (2,)),)


def test_several_columns_and_free_names() -> None:
    both = rule(categories=[GRADES, {"column": "more"}], knowledge=False)
    found = text_choices(TABLE, both, "retina")
    assert [len(own) for own in found.options] == [3, 1, 1, 2]
    drawn = Counter(int(found.draw([0], 1, step)[1]) for step in range(300))
    assert set(drawn) == {0, 1, 2} and min(drawn.values()) > 60
    names = rule(categories=[{"column": "label", "names": {"0": "no", "1": "few", "4": "many"}}], knowledge=False)
    assert text_choices(TABLE, names, "retina").categories == ("no", "few", "many")


def test_records_that_are_left_out() -> None:
    more = rule(categories=[{"column": "more"}])
    assert usable(TABLE, more, "retina").tolist() == [True, False, False, True]
    banned = rule(categories=[{"column": "more"}], leave_out=["cataract"])
    assert usable(TABLE, banned, "retina").tolist() == [False, False, False, True]


def test_a_dictionary_of_the_users(tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text("mild diabetic retinopathy: [few red dots, early signs]\n")
    found = text_choices(TABLE, rule(dictionary=str(file), template="{name} seen"), "retina")
    assert [found.texts[row] for row in found.options[1][0][1]] == [
        "mild diabetic retinopathy seen",
        "few red dots seen",
        "early signs seen",
    ]
    file.write_text("mild: one\n")
    with pytest.raises(ConfigError, match="not a mapping of category names to lists"):
        text_choices(TABLE, rule(dictionary=str(file)), "retina")


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(TrainingError, match="no column 'grade'"):
        text_choices(TABLE, rule(categories=[{"column": "grade"}]), "retina")
    with pytest.raises(TrainingError, match="'9' of the column 'label' has no name"):
        text_choices(TABLE.assign(label=9), rule(), "retina")
    for wrong in ({"template": "A photograph"}, {"categories": []}):
        with pytest.raises(ValueError, match=r"template must hold|needs text\.categories"):
            rule(**wrong)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 5), st.integers(0, 1000))
def test_a_draw_depends_on_record_seed_and_step_alone(positions: list[int], seed: int, step: int) -> None:
    made = TextChoices(tuple(((i, (i, i + 1, i + 2)), (9, (0,))) for i in range(10)), tuple("abcdefghijkl"))
    rows, groups = made.draw(positions, seed, step)
    for place, position in enumerate(positions):
        row, group = made.draw([position], seed, step)
        assert (row.item(), group.item()) == (rows[place].item(), groups[place].item())
        assert any(g == group and row in texts for g, texts in made.options[position])
    again, _ = made.take(positions).draw(list(range(len(positions))), seed, step)
    assert len(again) == len(rows)
