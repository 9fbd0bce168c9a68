from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medfm.cohorts.findings import Finding
from medfm.reporting.folder import rebuild_report
from medfm.reporting.html import render_report

VOID = {"meta", "img", "br", "link", "hr", "input"}
SECTIONS = (
    "headline",
    "figures",
    "precision",
    "groups",
    "calibration",
    "variants",
    "folds",
    "embedding",
    "errors",
    "checks",
)
SECTIONS = (*SECTIONS, "method", "provenance", "glossary")


class Page(HTMLParser):
    """Reads a page strictly: tags must close in order; collects what tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes at {self.getpos()}"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(result) -> str:
    return render_report(result)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_the_page_is_well_formed_and_has_every_section(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert [s["id"] for s in page.all("section")] == list(SECTIONS)
    assert len(page.all("h1")) == 1


def test_nothing_is_loaded_from_outside_and_nothing_runs(html, page):
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    assert "url(" not in html and "@import" not in html and "@font-face" not in html
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                assert (value or "").startswith(("data:image/", "#")), (tag, name)
    policy = next(m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert (policy["content"] or "").startswith("default-src 'none'")


def test_figures_load_nothing_either(page):
    drawn = [i["src"] or "" for i in page.all("img") if (i["src"] or "").startswith("data:image/svg+xml;base64,")]
    assert len(drawn) >= 8
    for uri in drawn:
        svg = base64.b64decode(uri.partition(",")[2]).decode()
        links = re.findall(r'href="([^"]*)"', svg)
        assert all(link.startswith(("#", "data:image/png")) for link in links)
        assert "<script" not in svg and "font-family" not in svg


def test_it_can_be_read_on_a_phone_and_by_a_screen_reader(html, page):
    viewport = next(m for m in page.all("meta") if m.get("name") == "viewport")
    assert "width=device-width" in (viewport["content"] or "")
    assert "@media print" in html and "@media (max-width" in html
    assert all(image.get("alt") for image in page.all("img"))
    assert all(cell.get("scope") for cell in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"


def test_the_warnings_come_before_the_figures(page):
    order = ["Untrained weights", "Synthetic data", "Check L004 failed and was allowed", "Unreadable records"]
    places = [page.text.index(text) for text in [*order, "Better than guessing", "Headline figures"]]
    assert places == sorted(places)


def test_the_headline_is_said_in_plain_words(page, result):
    estimate = result.summary.estimate("balanced_accuracy")
    wanted = (
        f"balanced accuracy {estimate.value:.3f} (95 % CI {estimate.low:.3f} to {estimate.high:.3f}; "
        "120 records, 40 patients)"
    )
    assert wanted in page.text
    assert "guessing: 0.333" in page.text


def test_patients_are_counted_only_where_they_are_known(make, result):
    unknown = result.summary.model_copy(update={"patients_known": False})
    text = Page(render_report(make(summary=unknown))).text
    assert "Patients unknown" in text
    assert "40 patients" not in text


def test_provenance_checks_and_terms_are_there(page, result):
    for text in (
        "ab" * 32,
        "cd" * 32,
        result.id,
        "lab-linear@1",
        "Koch et al. 2024",
        "The paper shares patients between folds.",
        "seeds.protocol",
        "3.11.2",
        "x86_64",
        "No patient is in two splits",
        "failed, allowed by the user",
        "cell_9999",
        "the file is truncated",
        "confidence interval (CI)",
        "Not a medical device",
        "mean ± SD",
    ):
        assert text in page.text, text


def test_small_sites_are_hidden(page, result):
    hidden = [row for row in result.summary.sites if row.suppressed]
    assert hidden
    assert "hidden: < 10 patients" in page.text
    assert page.text.count("hidden hidden") == len(hidden)


def test_the_only_people_in_it_are_record_ids_of_the_cohort(html, result):
    assert not any(patient in html for patient in set(result.predictions.table["patient_id"]))


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}$\\frac$"


def test_user_text_cannot_become_markup(make, result):
    table = result.predictions.table
    table = table.assign(
        record_id=[EVIL + str(i) for i in range(len(table))],
        site=EVIL,
        sex=np.where(table["sex"] == "f", EVIL, "m"),
        truth=table["truth"].replace("basophil", EVIL),
        predicted=table["predicted"].replace("basophil", EVIL),
    ).rename(columns={"score:basophil": f"score:{EVIL}"})
    predictions = type(result.predictions)(table, "multiclass", (EVIL, "lymphocyte", "neutrophil"), EVIL)
    provenance = result.provenance | {"encoder": EVIL, "cohort": EVIL, EVIL: EVIL, "weights_note": EVIL}
    provenance["failures"] = [{"record_id": EVIL, "reason": EVIL}]
    finding = Finding(code="X1", severity="warning", title=EVIL, detail=EVIL, records=(EVIL,))
    made = make(predictions, name=EVIL, provenance=provenance, findings=(finding,), extras={EVIL: EVIL})
    text = render_report(made)
    page = Page(text)
    assert not page.all("script")
    assert "<script" not in text and "onerror" not in {name for _, a in page.tags for name in a}
    assert EVIL in page.text


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_every_task_has_a_page(make, tasks, task):
    page = Page(render_report(make(tasks[task])))
    sections = [s["id"] for s in page.all("section")]
    assert {"headline", "figures", "embedding", "errors", "checks", "provenance"} <= set(sections)
    assert ("calibration" in sections) == (task != "regression")
    alts = " ".join(i.get("alt") or "" for i in page.all("img"))
    assert ("Decision curve" in alts) == (task == "binary")
    assert ("Scatter plot of predicted" in alts) == (task == "regression")


def test_a_bare_result_has_a_page(make, result):
    summary = result.summary.model_copy(
        update=dict.fromkeys(
            ("headline", "variants", "folds", "per_class", "confusion", "roc", "pr", "sites", "subgroups"), ()
        )
        | {"calibration": None, "decision": ()}
    )
    bare = make(
        summary=summary, provenance={}, findings=(), config={}, extras={}, batch_effect=None, embedding_map=None
    )
    page = Page(render_report(bare))
    assert "No checks are recorded" in page.text
    assert "Weights unknown" in page.text


def test_a_perfect_result_has_no_errors_section(make, result):
    table = result.predictions.table
    predictions = type(result.predictions)(
        table.assign(predicted=table["truth"]), "multiclass", result.predictions.classes, "cell_type"
    )
    page = Page(render_report(make(predictions)))
    assert "errors" not in [s["id"] for s in page.all("section")]


def test_equal_results_give_equal_pages(make, html):
    assert render_report(make()) == html


def test_the_page_is_small(html):
    assert len(html) < 1_000_000


def test_the_report_needs_nothing_but_the_folder(result, tmp_path):
    saved = result.save(tmp_path / "saved")
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    before = {name: (saved / name).read_bytes() for name in ("report.html", "card.md")}
    saved.rename(moved)
    report, card = rebuild_report(moved)
    assert report.read_bytes() == before["report.html"]
    assert card.read_bytes() == before["card.md"]


def test_pictures_survive_a_rebuild(make, images, tmp_path):
    place = make().save(tmp_path / "r", images=images)
    before = (place / "report.html").read_text()
    assert "data:image/jpeg" in before
    rebuild_report(place)
    assert (place / "report.html").read_text() == before


def test_a_binary_report_says_which_class_is_positive(make, tasks, quick_report):
    made = make(tasks["binary"])
    page = render_report(made)
    assert "the positive class is “leukaemia”, the other “healthy”" in page
    assert "positive: leukaemia" in str(made)
    assert "the positive class is" not in render_report(make(tasks["multiclass"]))
    assert "3 labels" in render_report(make(tasks["multilabel"]))


def test_bags_are_counted_as_patients_and_have_no_pictures(make, tasks, images):
    bags = make(tasks["binary"], kind="mil")
    page = render_report(bags)
    assert "Tested on 120 patients, each a bag of cells" in page and "Each point is one patient" in page
    assert 'class="montage"' not in page and "no picture" not in page
    assert 'aria-label="Errors"' in page
    assert "120 patients, each a bag of cells" in str(bags)
    cells = render_report(make(tasks["binary"], thumbnails={"cell_0001": b"x"}))
    assert "Each point is one record" in cells


def test_one_picture_is_enough_for_the_montage(make, tasks, images):
    from medfm.reporting.thumbnails import confident_errors, thumbnail

    bare = make(tasks["binary"])
    name = str(confident_errors(bare)["record_id"].iloc[0])
    page = render_report(make(tasks["binary"], thumbnails={name: thumbnail(images(name))}))
    assert 'class="montage"' in page and page.count("no picture") == len(confident_errors(bare)) - 1


def test_text_tables_name_their_cells_for_phones(result):
    page = render_report(result)
    assert page.count('data-label="outcome"') == len(result.findings)
