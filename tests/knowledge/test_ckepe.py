"""CKEPE: statements checked term by term, refusals, frozen files, the endpoint."""

from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_knowledge import ecg, shapes

from medfm.core.errors import ConfigError, MedfmError, OfflineError
from medfm.knowledge.ckepe import check_answer, generate, load_frozen
from medfm.knowledge.provider import OpenAICompatible
from medfm.knowledge.terms import clauses, terms


def kept(class_id: str, answer: str) -> tuple[str, ...]:
    return check_answer(ecg(), class_id, answer)[0]


def why(class_id: str, answer: str) -> str:
    found, dropped = check_answer(ecg(), class_id, answer)
    assert found == ()
    return dropped[0].reason


def test_supported_statements_are_kept_as_written() -> None:
    answer = "Sure! Here is the list:\n1. ST depression,\n2. Downsloping  ST segment; horizontal ST segment."
    assert kept("st_depression", answer) == ("ST depression", "Downsloping ST segment", "horizontal ST segment")


def test_the_published_faults_would_be_dropped() -> None:
    # The published prompts list ST elevation under ST depression, and the opposite rotation.
    assert why("st_depression", "ST elevation") == "names another class: ST segment elevation"
    assert why("clockwise_rotation", "counterclockwise rotation") == "names another class: counterclockwise rotation"
    assert "hope" in why("bigeminy", "I hope this helps")


def test_absence_counts() -> None:
    assert kept("atrial_fibrillation", "no P waves") == ("no P waves",)
    assert "not in the knowledge" in why("atrial_fibrillation", "P waves")
    assert kept("mi", "pathological Q waves") == ("pathological Q waves",)
    assert "not in the knowledge" in why("mi", "no pathological Q waves")


def test_leads_must_be_those_of_one_entry() -> None:
    assert kept("mi", "pathological Q waves in V1-V4") == ("pathological Q waves in V1-V4",)
    assert "avr" in why("mi", "pathological Q waves in aVR")
    assert "different classes" in why("mi", "pathological Q waves in V1 and II")


def test_descendants_speak_for_a_parent_but_not_the_reverse() -> None:
    assert kept("mi", "inferior myocardial infarction") == ("inferior myocardial infarction",)
    assert why("mi_inferior", "anterior myocardial infarction").startswith("names another class")


def test_repetitions_and_empty_statements_are_dropped() -> None:
    found, dropped = check_answer(shapes(), "circle", "disc, the disc, of the, , no corners")
    assert found == ("disc", "no corners")
    assert [d.reason for d in dropped] == ["said before", "says nothing"]


@pytest.mark.parametrize("class_id", [c.id for c in ecg().classes])
def test_every_class_supports_its_own_findings(class_id: str) -> None:
    entry = ecg().entry(class_id)
    for finding in entry.findings:
        _, dropped = check_answer(ecg(), class_id, finding.seen)
        assert not [d for d in dropped if d.reason != "said before"]


def test_terms_are_one_form() -> None:
    assert terms("Inverted T waves in leads V1 to V3") == terms("T wave inversion V1-V3")
    assert terms("ischaemia") == terms("ischemia")
    assert terms("QRS complexes, no P waves") == {"qrs", "complex", "no:p", "no:wave"}
    assert terms("") == terms("of the") == frozenset()
    assert terms("axis beyond -30 degrees") != terms("axis beyond 30 degrees")
    assert terms("12-lead") == {"12"}


@pytest.mark.parametrize(
    ("answer", "statements"),
    [
        ("- a\n* b; c. d 0.1 mV", ["a", "b", "c", "d 0.1 mV"]),
        ("1. a\n2) 200 ms pause\n", ["a", "200 ms pause"]),
        ("'a', \"b\"..", ["a", "b"]),
        ("Q waves in leads II, III and aVF, tall R", ["Q waves in leads II, III and aVF", "tall R"]),
        ("R in V1, V2, and V3 to V6. x", ["R in V1, V2, and V3 to V6", "x"]),
        ("V1, x", ["V1", "x"]),
        (" ,;\n. ", []),
    ],
)
def test_answers_are_cut_into_statements(answer: str, statements: list[str]) -> None:
    assert clauses(answer) == statements


def test_a_list_of_leads_is_judged_with_what_it_belongs_to() -> None:
    answer = "pathological Q waves in leads II, III and aVF, pathological Q waves in leads II, III, and aVR"
    assert kept("mi", answer) == ("pathological Q waves in leads II, III and aVF",)


ANSWERS = {"circle": "disc, no corners, four corners", "ellipse": "I cannot help with that", "square": "Box"}


def fake(question: str) -> str:
    return next(answer for name, answer in ANSWERS.items() if f"in {name}:" in question)


def test_generate_freeze_and_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        frozen = generate(shapes(), "fine", fake, name="fake 1")
    assert frozen.prompts().texts() == ["circle, disc, no corners.", "ellipse.", "square, Box."]
    assert frozen.labels["C"].kept == ("disc", "no corners")
    assert [d.statement for d in frozen.labels["C"].dropped] == ["four corners"]
    assert "four corners" in caplog.text
    assert frozen.knowledge_digest == shapes().digest()
    assert frozen == generate(shapes(), "fine", fake, name="fake 1")
    frozen.save(tmp_path / "f.yaml")
    again = load_frozen(tmp_path / "f.yaml")
    assert again == frozen
    assert again.prompts().strategy == "ckepe@1"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("four corners", "five corners", "answers of C"),
        ("prompt: ellipse.", "prompt: ellipses.", "changed after they were written"),
        ("class_id: square", "class_id: circle", "changed after they were written"),
        ("provider: fake 1", "provider: fake 2", "changed after they were written"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "f.yaml"
    generate(shapes(), "fine", fake, name="fake 1").save(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_frozen(path)


@pytest.mark.parametrize("answer", [None, 3, "x" * 30_000])
def test_unusable_answers(answer: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        generate(shapes(), "fine", lambda _: answer, name="broken")


# ---- the endpoint ----

REPLIES: dict[str, tuple[int, bytes]] = {
    "good": (200, json.dumps({"choices": [{"message": {"content": "disc"}}]}).encode()),
    "refused": (401, b"{}"),
    "no json": (200, b"<html>"),
    "other form": (200, b'{"choices": []}'),
    "no text": (200, b'{"choices": [{"message": {"content": null}}]}'),
    "a list": (200, b"[]"),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the name of the model, and keeps what it was sent."""

    seen: list[tuple[str, str | None, dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.seen.append((self.path, self.headers.get("Authorization"), body))
        status, data = REPLIES[body["model"]]
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("MEDFM_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    Handler.seen = []
    local = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=local.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{local.server_port}/v1/"
    local.shutdown()
    thread.join()
    local.server_close()


def test_a_question_goes_out_and_an_answer_comes_back(server: str) -> None:
    provider = OpenAICompatible(server, "good", api_key="hidden")
    assert provider("what is a circle?") == "disc"
    path, key, body = Handler.seen[0]
    assert (path, key, body["temperature"]) == ("/v1/chat/completions", "Bearer hidden", 0)
    assert body["messages"] == [{"role": "user", "content": "what is a circle?"}]
    assert "hidden" not in repr(provider)
    OpenAICompatible(server, "good")("again")
    assert Handler.seen[1][1] is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("refused", "HTTP 401"),
        ("no json", "not a chat completion"),
        ("other form", "not a chat completion"),
        ("no text", "no text"),
        ("a list", "not a chat completion"),
    ],
)
def test_a_server_that_fails_is_one_clear_error(server: str, model: str, message: str) -> None:
    with pytest.raises(MedfmError, match=message):
        OpenAICompatible(server, model)("?")


def test_no_server_there(server: str) -> None:
    with pytest.raises(MedfmError, match="cannot be reached"):
        OpenAICompatible("http://127.0.0.1:9/v1", "good", timeout_s=5)("?")


def test_offline_refuses_before_anything_is_sent() -> None:
    with pytest.raises(OfflineError, match="process is offline"):
        OpenAICompatible("http://127.0.0.1:9/v1", "good")("?")


def test_an_address_must_be_one() -> None:
    with pytest.raises(ConfigError, match="not an address"):
        OpenAICompatible("file:///etc/passwd", "good")
