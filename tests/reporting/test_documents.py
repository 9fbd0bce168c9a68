"""Model card, TRIPOD+AI checklist, CHAI card, flow and Table 1 of a result."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from tiny_results import tiny_result

from medfm.cli.report import command
from medfm.core.errors import ConfigError, MedfmError
from medfm.evaluation.participants import participants
from medfm.evaluation.target import Target
from medfm.reporting.chai import NAMESPACE, STRUCTURE, chai_card, chai_problems
from medfm.reporting.document_facts import OPEN, QUESTIONS, Facts
from medfm.reporting.model_card import SECTIONS, model_card
from medfm.reporting.participants import flow_plot, flow_svg, participants_section, table_one
from medfm.reporting.tripod import ANSWERED, FILLED, ITEMS, MISSING, PARTLY, checklist, tripod_markdown
from medfm.workflows.documents import read_answers, write_documents


def entry() -> dict:
    n = 60
    frame = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "patient_id": [f"P{i}" for i in range(n)],
            "site": ["<A>", "B & C"] * 30,
            "sex": ["f"] * 57 + ["m"] * 3,
        }
    )
    kept, target = frame.iloc[:50], Target("label", "binary", ("healthy", "blast"), np.arange(50) % 2)
    parts = {"train": np.arange(30), "test": np.arange(30, 50)}
    return participants(frame, kept, target, parts, [("no label", 7), ("could not be read", 3)], minimum=5)


@pytest.fixture(scope="module")
def facts() -> Facts:
    return Facts(tiny_result(extras={"participants": entry()}))


def test_the_checklist_has_27_items_and_52_lines():
    numbers = [item.number for item in ITEMS]
    assert len(numbers) == len(set(numbers)) == 52
    assert {int(n.rstrip("abcdefg")) for n in numbers} == set(range(1, 28))
    assert all(item.known or item.question for item in ITEMS)
    assert {item.question for item in ITEMS if item.question} <= set(QUESTIONS)


def test_what_nobody_answered_is_missing_and_says_so(facts):
    lines = {line.item.number: line for line in checklist(facts)}
    assert lines["18a"].state == MISSING and lines["18a"].text.startswith(OPEN)
    assert lines["20a"].state == FILLED and "60 records of 60 patients in the table" in lines["20a"].text
    assert lines["8a"].state == PARTLY and OPEN in lines["8a"].text
    assert lines["23b"].state == MISSING  # no sites: nothing is made up
    for line in lines.values():
        assert (OPEN in line.text) == (line.state in (PARTLY, MISSING) and line.item.question is not None)


def test_an_answer_fills_its_own_items_only(facts):
    told = Facts(facts.result, {"funding": "The hospital.", "abstract": "  "})
    before, after = checklist(facts), checklist(told)
    changed = [a.item.number for a, b in zip(after, before, strict=True) if a != b]
    assert changed == ["18a"] and after[[i.number for i in ITEMS].index("18a")].state == ANSWERED
    assert "The hospital." in tripod_markdown(told) and "- 18a" not in tripod_markdown(told)


def test_without_participants_the_flow_is_missing():
    lines = {line.item.number: line.state for line in checklist(Facts(tiny_result()))}
    assert lines["20a"] == lines["20b"] == lines["11"] == MISSING


def test_each_answer_has_its_own_line_in_the_checklist():
    used = [item.question for item in ITEMS if item.question]
    # One answer may serve two items only where both ask the same.
    assert {q for q in used if used.count(q) > 1} <= {"setting", "data_differences"}


def test_the_model_card_has_mitchells_sections_and_front_matter(facts):
    text = model_card(facts)
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert tuple(headings) == SECTIONS and len(SECTIONS) == 9
    front = yaml.safe_load(text.split("---\n")[1])
    metrics = {m["type"]: m["value"] for m in front["model-index"][0]["results"][0]["metrics"]}
    assert metrics == {e.metric: e.value for e in facts.result.summary.headline if e.value is not None}
    assert "| records | 30 | 20 |" in text and OPEN in text


def test_the_chai_card_is_valid_and_holds_the_runs_figures(facts):
    text = chai_card(facts)
    assert chai_problems(text) == []
    root = ElementTree.fromstring(text)
    found = root.find(f".//{{{NAMESPACE}}}UsefulnessUsabilityEfficacy/{{{NAMESPACE}}}Results")
    values = [json.loads(e.text)["value"] for e in found.iter(f"{{{NAMESPACE}}}ValueJson")]
    assert values == [e.value for e in facts.result.summary.headline if e.value is not None]
    assert root.find(f".//{{{NAMESPACE}}}FundingSource").text.startswith(OPEN)
    assert root.find(f".//{{{NAMESPACE}}}RegulatoryApproval") is None  # optional: never invented


def test_hostile_texts_stay_texts(facts):
    told = Facts(facts.result, {"developer": "A & B <i>\x00\x0b", "funding": "| a | <script> `x`"})
    root = ElementTree.fromstring(chai_card(told))
    assert root.find(f".//{{{NAMESPACE}}}ModelDeveloper").text == "A & B <i>"
    assert "<script>" not in tripod_markdown(told) and "| a |" not in tripod_markdown(told)


def _paths(structure: dict, root: str = "") -> list[tuple[str, bool]]:
    found = []
    for rule, inner in structure.items():
        name = rule.rstrip("?*+")
        found.append((f"{root}{name}", rule[-1] in "?*"))
        found += [(p, optional or rule[-1] in "?*") for p, optional in _paths(inner, f"{root}{name}/")]
    return found


@pytest.mark.parametrize(("path", "optional"), _paths(STRUCTURE))
def test_a_missing_element_is_found_unless_it_is_optional(facts, path, optional):
    root = ElementTree.fromstring(_card(facts))
    *above, name = [f"{{{NAMESPACE}}}{part}" for part in path.split("/")]
    parent = root.find("/".join(above)) if above else root
    if parent is None or parent.find(name) is None:
        assert optional
        return
    for child in parent.findall(name):
        parent.remove(child)
    assert bool(chai_problems(ElementTree.tostring(root, encoding="unicode"))) != optional


_CARDS: dict[int, str] = {}


def _card(facts: Facts) -> str:
    return _CARDS.setdefault(id(facts), chai_card(facts))


def test_other_faults_of_a_card_are_found(facts):
    good = ElementTree.fromstring(_card(facts))

    def faults(change) -> list[str]:
        root = copy.deepcopy(good)
        change(root)
        return chai_problems(ElementTree.tostring(root, encoding="unicode"))

    assert faults(lambda r: None) == []
    assert "more than once" in faults(lambda r: r[0].insert(0, copy.deepcopy(r[0][0])))[0]
    assert "none" in faults(lambda r: r.append(ElementTree.Element("Extra")))[0]
    assert "empty" in faults(lambda r: setattr(r[0][0], "text", " "))[0]
    assert "not text" in faults(lambda r: r[0][0].append(ElementTree.Element("b")))[0]
    assert faults(lambda r: r.insert(0, copy.deepcopy(r[1])))  # order
    assert "no XML" in chai_problems("<a>")[0] and "root" in chai_problems("<a/>")[0]


def test_flow_and_table_one():
    plot, table = flow_plot(entry()), table_one(entry())
    assert "60 records, 60 patients in the table" in plot.alt and "7 records: no label" in plot.alt
    assert flow_svg(entry()).lstrip().startswith(b"<?xml") and flow_svg(entry()) == flow_svg(entry())
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["records"] == ("30", "20") and rows["label: blast"] == ("15 (50 %)", "10 (50 %)")
    assert rows["sex: f"] == ("30 (100 %)", "20 (100 %)")


def test_hidden_cells_and_unknown_patients_say_so():
    rare = entry()
    rare["rows"][0]["cells"][0] = None
    assert table_one(rare).rows[2][1] == "hidden"
    rare["unit"], rare["rows"] = "records", []
    assert table_one(rare) is None
    assert participants_section(tiny_result()) is None


def test_the_report_shows_who_took_part(facts):
    from medfm.reporting.html import render_report

    page = render_report(facts.result)
    assert 'id="participants"' in page and "&lt;A&gt;" in page and "site: <A>" not in page


def test_documents_from_the_shell(tmp_path, facts):
    run = facts.result.save(tmp_path / "run")
    done = CliRunner().invoke(command, [str(run), "--documents", "--json"], standalone_mode=False)
    said = json.loads(done.stdout)[0]
    names = {"answers.yaml", "model_card.md", "tripod_ai.md", "chai_card.xml", "flow.svg", "table1.md"}
    assert {p.name for p in (run / "documents").iterdir()} == names and said["unanswered"] == list(QUESTIONS)
    answers = run / "documents" / "answers.yaml"
    assert read_answers(answers) == {}
    answers.write_text('funding: "Nobody paid."\n')
    again = write_documents(run)
    assert "funding" not in again.unanswered and answers.read_text() == 'funding: "Nobody paid."\n'
    assert "Nobody paid." in (run / "documents" / "chai_card.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["fundin: a", "funding: [a]", "- a", "a: [", "funding: {a: b}"])
def test_answers_that_cannot_be_read(tmp_path, text):
    (tmp_path / "answers.yaml").write_text(text)
    with pytest.raises(MedfmError) as caught:
        read_answers(tmp_path / "answers.yaml")
    assert "answers.yaml" in str(caught.value)
    assert "funding" in str(caught.value) or isinstance(caught.value, ConfigError)


def test_results_of_other_kinds_have_documents_too():
    result = tiny_result()
    odd = replace(result, provenance={}, findings=(), summary=result.summary.model_copy(update={"calibration": None}))
    told = Facts(odd)
    assert chai_problems(chai_card(told)) == [] and "unknown" in model_card(told) and tripod_markdown(told)
