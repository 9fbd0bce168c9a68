"""The heat maps of a report: panels in one file, their words, and pages without them."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medfm.encoders.explain_picture import Frame, HeatMap
from medfm.reporting.explanations import EDGE, KEY, explanations_context, panels
from medfm.reporting.folder import rebuild_report
from medfm.reporting.heat_overlay import overlay
from medfm.reporting.html import render_report
from medfm.reporting.result import Result
from medfm.reporting.thumbnails import confident_errors


def heat(shape: tuple[int, int], values: np.ndarray) -> HeatMap:
    return HeatMap(values.astype(np.float32), "grad_cam", Frame(shape, shape, (1.0, 1.0), (0.0, 0.0)))


def picture(rows: int = 300, columns: int = 500) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x * 255 // columns, y * 255 // rows, np.full_like(x, 90)], axis=2).astype(np.uint8)


@pytest.fixture
def explained(make, tasks) -> Result:
    """A result whose three surest errors have heat maps, the third with nothing for the true class."""
    made = make(tasks["multiclass"])
    errors = confident_errors(made)
    records, images = {}, {}
    for number, row in enumerate(errors.head(3).to_dict("records")):
        hot = np.zeros((3, 3))
        hot[number, number] = 1
        maps = [heat((300, 500), hot), heat((300, 500), hot * (number < 2))]
        data, size = panels(picture(), maps)
        images[row["record_id"]] = data
        names = [("predicted", row["predicted"], False), ("truth", row["truth"], number == 2)]
        shown = [{"role": r, "class": c, "empty": e} for r, c, e in names]
        records[row["record_id"]] = {"panels": [{"role": "picture"}, *shown], "size": list(size)}
    for record_id in errors["record_id"][3:]:
        images[record_id] = panels(picture(60, 60), [])[0]
    entry = {"method": "grad_cam", "score": "The score is planted.", "records": records, "notes": ["one is missing"]}
    return replace(made, extras={**made.extras, KEY: entry}, thumbnails=images)


def errors_of(result: Result) -> list[dict[str, str]]:
    from medfm.reporting.error_pictures import shown_errors

    return shown_errors(result)


def test_panels_lie_side_by_side():
    hot = np.zeros((2, 2))
    hot[0, 0] = 1
    source = picture()
    data, (wide, high) = panels(source, [heat((300, 500), hot), heat((300, 500), np.zeros((2, 2)))])
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert (wide, high) == (EDGE, round(EDGE * 0.6)) and image.shape == (high, 3 * wide, 3)
    small = np.asarray(Image.fromarray(source).resize((wide, high), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(image[:, :wide] - small).mean() < 4, "the picture itself comes first"
    expected = overlay(small.astype(np.uint8), heat((300, 500), hot).on_scaled((high, wide))).astype(int)
    assert np.abs(image[:, wide : 2 * wide] - expected).mean() < 6
    corner, far = image[4, wide + 4], image[high - 5, 2 * wide - 5]
    assert corner[0] - corner[2] > far[0] - far[2] + 40, "yellow where the map is high"


@pytest.mark.parametrize(
    "array", [np.zeros((40, 30), np.uint8), np.full((9, 9, 3), 40000, np.uint16), np.ones((20, 20, 3))]
)
def test_other_kinds_of_pictures(array):
    data, size = panels(array, [heat(array.shape[:2], np.ones((2, 2)))])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (2 * size[0], size[1]) and size == (array.shape[1], array.shape[0]), "never enlarged"


def test_the_page_has_the_panels_and_their_words(explained):
    page = render_report(explained)
    entry = explained.extras[KEY]
    assert page.count('class="shot"') == 9 and page.count("--shots:url(data:image/jpeg;base64,") == 3
    for name in ("background-position:0% 0", "background-position:50% 0", "background-position:100% 0"):
        assert page.count(name) == 3
    assert page.count("nothing speaks for it</span>") == 1
    assert "The score is planted." in page and "its edge is no outline" in page and "Note: one is missing" in page
    assert "Further errors, without heat maps" in page
    for record_id in entry["records"]:
        assert f'aria-label="Record {record_id}: the picture"' in page
    labels = re.findall(r'role="img" aria-label="([^"]+)"', page)
    assert len(labels) == len(set(labels)) == 9, "each panel can be told apart by those who cannot see it"


def test_untrained_weights_are_named(explained):
    assert explained.provenance["weights_kind"] == "random"
    assert "where it looked means nothing" in render_report(explained)
    trained = replace(explained, provenance={**explained.provenance, "weights_kind": "published"})
    assert "where it looked means nothing" not in render_report(trained)


def test_saved_loaded_and_rebuilt_it_is_the_same_page(explained, tmp_path):
    folder = explained.save(tmp_path / "run")
    before = (folder / "report.html").read_text(encoding="utf-8")
    rebuild_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == before and 'class="shot"' in before


def test_names_of_classes_are_escaped(explained):
    entry = explained.extras[KEY]
    first = next(iter(entry["records"]))
    entry["records"][first]["panels"][1]["class"] = '<script>"'
    page = render_report(replace(explained, extras={**explained.extras, KEY: entry}))
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_roll_out_says_that_it_answers_no_question(explained):
    entry = dict(explained.extras[KEY])
    entry |= {"method": "attention_rollout", "score": ""}
    entry["records"] = {
        k: {**v, "panels": [{"role": "picture"}, {"role": "attention"}]} for k, v in entry["records"].items()
    }
    context = explanations_context(replace(explained, extras={KEY: entry}), errors_of(explained))
    assert "the same whatever is asked" in context["words"][0]
    assert [p["title"] for p in context["shown"][0]["panels"]] == ["the picture", "where the encoder looked"]
    assert [p["place"] for p in context["shown"][0]["panels"]] == ["0", "100"]


def test_without_heat_maps_the_page_says_why_and_shows_the_montage(explained):
    none = replace(explained, extras={KEY: {"why_not": "they were switched off"}})
    page = render_report(none)
    assert "No heat maps beside the pictures: they were switched off." in page
    assert 'class="shot"' not in page and '<div class="montage">' in page
    bare = replace(explained, extras={})
    assert explanations_context(bare, errors_of(bare)) is None and "heat maps beside" not in render_report(bare)
    assert explanations_context(none, []) is None, "no errors, no word about their pictures"
    lost = replace(explained, thumbnails={})
    context = explanations_context(lost, errors_of(lost))
    assert context["shown"] == [] and context["why_not"] == "one is missing"
