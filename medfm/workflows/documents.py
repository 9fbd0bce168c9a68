"""Write the documents of a result folder: model card, checklist, CHAI card, flow and Table 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from medfm.core.errors import ConfigError
from medfm.core.files import make_folder, write_text
from medfm.core.names import unknown_name
from medfm.reporting.document_facts import QUESTIONS

FOLDER, ANSWERS = "documents", "answers.yaml"


@dataclass(frozen=True)
class Documents:
    """What was written: the folder, the files, and the questions nobody answered yet."""

    folder: Path
    files: tuple[Path, ...]
    unanswered: tuple[str, ...]


def write_documents(folder: str | Path) -> Documents:
    """Write the documents of a result folder into its folder ``documents``.

    People answer in ``answers.yaml`` there; it is written once, read on every later call, and never
    changed. The other files are written anew.

    Raises:
        StoreError: It is no result folder, or cannot be written to.
        ConfigError: ``answers.yaml`` cannot be read or has a key that is no question.
    """
    from medfm.reporting.card import markdown_table
    from medfm.reporting.chai import chai_card
    from medfm.reporting.document_facts import Facts
    from medfm.reporting.folder import read_result
    from medfm.reporting.model_card import model_card
    from medfm.reporting.participants import flow_svg, table_one
    from medfm.reporting.tripod import tripod_markdown

    place = Path(folder)
    result = read_result(place)
    out = make_folder(place / FOLDER)
    questions = out / ANSWERS
    if not questions.exists():
        write_text(questions, _questions())
    facts = Facts(result, read_answers(questions))
    texts = {
        "model_card.md": model_card(facts),
        "tripod_ai.md": tripod_markdown(facts),
        "chai_card.xml": chai_card(facts),
    }
    if facts.people:
        texts["flow.svg"] = flow_svg(facts.people).decode()
        table = table_one(facts.people)
        if table is not None:
            texts["table1.md"] = "\n".join(["# Table 1", "", *markdown_table(table)]) + "\n"
    for name, text in texts.items():
        write_text(out / name, text)
    missing = tuple(key for key in QUESTIONS if not facts.answered(key))
    return Documents(out, tuple(out / name for name in texts), missing)


def read_answers(path: Path) -> dict[str, str]:
    """The answers by question; empty ones are left out.

    Raises:
        ConfigError: No YAML, no texts, or a key that is no question.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"The answers cannot be read: {' '.join(str(error).split())}.",
            where=str(path),
            expected="YAML with one text per question",
            fix="mend the file, or remove it to get an empty one",
        ) from error
    if not isinstance(found, Mapping):
        raise ConfigError(
            "The answers are not texts by question.", where=str(path), expected='lines such as contact: "..."'
        )
    for key, text in found.items():
        if key not in QUESTIONS:
            raise unknown_name("question", str(key), list(QUESTIONS), where=str(path))
        if text is not None and not isinstance(text, (str, int, float)):
            raise ConfigError("An answer is not a text.", where=f"{path}, {key}", expected="a text in quotes")
    return {str(key): str(text) for key, text in found.items() if text is not None and str(text).strip()}


def _questions() -> str:
    head = "# What no run can know. Answer here, then run medfm report --documents again; this file is never overwritten.\n"
    return head + "".join(f'\n# {question}\n{key}: ""\n' for key, question in QUESTIONS.items())
