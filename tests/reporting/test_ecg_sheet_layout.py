from __future__ import annotations

import pytest

from medfm.core.config import build
from medfm.core.errors import ConfigError
from medfm.modalities.ecg import LEADS
from medfm.reporting.ecg_sheet_layout import SheetSettings, plan_sheet


def plan(layout: str = "3x4", seconds: float = 10.0, **settings):
    return plan_sheet(SheetSettings(layout=layout, **settings), seconds)


@pytest.mark.parametrize("order", ["standard", "cabrera"])
@pytest.mark.parametrize(("layout", "rows", "columns"), [("3x4", 3, 4), ("6x2", 6, 2), ("12x1", 12, 1)])
def test_every_lead_has_one_place(layout, rows, columns, order):
    made = plan(layout, order=order)
    lanes = [lane for lane in made.lanes if not lane.strip]
    assert sorted(lane.lead for lane in lanes) == sorted(LEADS)
    assert len({(lane.row, lane.x) for lane in lanes}) == 12
    assert {lane.row for lane in lanes} == set(range(rows))
    assert len({lane.x for lane in lanes}) == columns
    assert made.rows == rows + (columns > 1)
    assert all(lane.x + lane.width <= 250 for lane in made.lanes)


def test_the_standard_columns():
    columns: dict[float, list[str]] = {}
    for lane in plan().lanes[:-1]:
        columns.setdefault(lane.x, []).append(lane.label)
    assert list(columns.values()) == [
        ["I", "II", "III"],
        ["aVR", "aVL", "aVF"],
        ["V1", "V2", "V3"],
        ["V4", "V5", "V6"],
    ]
    assert plan().lanes[-1].strip and plan().lanes[-1].lead == "II" and plan().lanes[-1].width == 250


def test_cabrera_goes_round_by_angle():
    lanes = plan("6x2", order="cabrera").lanes
    assert [lane.label for lane in lanes[:6]] == ["aVL", "I", "−aVR", "II", "aVF", "III"]
    assert [lane.turned for lane in lanes].count(True) == 1
    assert lanes[2].lead == "aVR" and lanes[2].turned


def test_columns_follow_each_other_in_time():
    made = plan()
    assert made.consecutive
    assert [lane.begin for lane in made.lanes[:12:3]] == [0.0, 2.5, 5.0, 7.5]
    assert [lane.end for lane in made.lanes[:12:3]] == [2.5, 5.0, 7.5, 10.0]
    later = plan("6x2", start=20.0)
    assert [lane.begin for lane in later.lanes[:12:6]] == [20.0, 25.0] and later.lanes[-1].begin == 20.0


@pytest.mark.parametrize(
    ("layout", "seconds", "consecutive"),
    [("3x4", 9.99, True), ("3x4", 8.75, True), ("3x4", 8.7, False), ("3x4", 3.0, False)]
    + [("6x2", 7.5, True), ("6x2", 7.4, False), ("12x1", 0.5, True)],
)
def test_short_records_show_their_beginning_in_every_column(layout, seconds, consecutive):
    made = plan(layout, seconds)
    assert made.consecutive is consecutive
    if not consecutive:
        assert {lane.begin for lane in made.lanes} == {0.0}


def test_the_rhythm_strip_can_be_left_out():
    made = plan(rhythm=False)
    assert made.rows == 3 and not any(lane.strip for lane in made.lanes)
    assert not any(lane.strip for lane in plan("12x1").lanes)


@pytest.mark.parametrize("wrong", [{"layout": "4x3"}, {"gain": 7}, {"order": "x"}, {"start": -1}, {"speed": 50}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        build(SheetSettings, wrong, where="drawing")
