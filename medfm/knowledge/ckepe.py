"""Prompts written by a language model and checked against the knowledge (the procedure CKEPE).

A provider is asked once per label for the findings that mark it; its answer is cut into
statements; each is kept only if the knowledge supports every term of it. What is dropped is
logged with its reason, and everything is frozen to a YAML file with hashes. No provider is used
unless one is handed in.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from medfm.core.config import StrictConfig, load_config
from medfm.core.errors import ConfigError
from medfm.core.files import write_text
from medfm.core.hashing import sha256_bytes, sha256_json
from medfm.knowledge.prompts import ClassPrompts, Prompt, PromptSet
from medfm.knowledge.schema import Knowledge, KnowledgeClass
from medfm.knowledge.terms import clauses, terms

_log = logging.getLogger(__name__)

# A question in, an answer out.
Provider = Callable[[str], str]

STRATEGY = "ckepe@1"
QUESTION = (
    "List what a {domain} recording shows in {name}: its subtypes, and what is seen in which leads. "
    "Answer with short phrases separated by commas and nothing else. Use only facts from a standard."
)
_LONGEST_ANSWER = 20_000


class Dropped(StrictConfig):
    """A statement that was not kept."""

    statement: str
    reason: str


class FrozenLabel(StrictConfig):
    """One label's question, answer and what was kept of it."""

    class_id: str
    question: str
    answer: str
    answer_sha256: str
    kept: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    prompt: str


class FrozenPrompts(StrictConfig):
    """The outcome of one run, complete enough to be judged and used without the provider."""

    strategy: str = STRATEGY
    provider: str
    knowledge: str
    knowledge_digest: str
    label_set: str
    labels: dict[str, FrozenLabel]
    sha256: str

    def content_digest(self) -> str:
        """SHA-256 over everything but the field ``sha256``."""
        content = self.to_dict()
        content.pop("sha256")
        return sha256_json(content)

    def prompts(self) -> PromptSet:
        """The prompts for scoring, one per label."""
        return PromptSet(
            self.strategy,
            tuple(ClassPrompts(label, ((Prompt(entry.prompt),),)) for label, entry in self.labels.items()),
            f"ckepe by {self.provider} ({self.sha256[:12]})",
        )

    def save(self, path: str | Path) -> None:
        """Write the YAML file, atomically."""
        write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=120))


def generate(knowledge: Knowledge, label_set: str, provider: Provider, *, name: str) -> FrozenPrompts:
    """Ask `provider` about every label of `label_set` and keep what the knowledge supports.

    A label of whose answer nothing is kept is asked for by its name alone.

    Args:
        knowledge: The domain's knowledge.
        label_set: Name of one of its label sets.
        provider: The language model.
        name: What the provider is called in the frozen file, such as the model and its version.

    Raises:
        ConfigError: An answer is not text or far too long; the provider's own errors pass through.
    """
    found: dict[str, FrozenLabel] = {}
    for label, class_id in knowledge.label_set(label_set).labels.items():
        entry = knowledge.entry(class_id)
        question = QUESTION.format(domain=knowledge.title, name=entry.name)
        answer = provider(question)
        if not isinstance(answer, str) or len(answer) > _LONGEST_ANSWER:
            raise ConfigError(
                "The language model's answer cannot be used.",
                where=f"label '{label}', provider '{name}'",
                expected=f"text of at most {_LONGEST_ANSWER} characters",
            )
        kept, dropped = check_answer(knowledge, class_id, answer)
        for item in dropped:
            _log.warning("Dropped from the prompt of '%s': %s (%s)", label, item.statement[:200], item.reason)
        found[label] = FrozenLabel(
            class_id=class_id,
            question=question,
            answer=answer,
            answer_sha256=sha256_bytes(answer.encode()),
            kept=kept,
            dropped=dropped,
            prompt=", ".join([entry.name, *(s for s in kept if s.lower() != entry.name.lower())]) + ".",
        )
    draft = FrozenPrompts(
        provider=name,
        knowledge=f"{knowledge.domain} version {knowledge.version}",
        knowledge_digest=knowledge.digest(),
        label_set=label_set,
        labels=found,
        sha256="",
    )
    return draft.model_copy(update={"sha256": draft.content_digest()})


def load_frozen(path: str | Path) -> FrozenPrompts:
    """A frozen file, its hashes checked.

    Raises:
        ConfigError: The file breaks the schema, or was changed after it was frozen.
    """
    frozen = load_config(FrozenPrompts, path)
    changed = [n for n, e in frozen.labels.items() if sha256_bytes(e.answer.encode()) != e.answer_sha256]
    if changed or frozen.content_digest() != frozen.sha256:
        raise ConfigError(
            "These frozen prompts were changed after they were written.",
            where=f"{path}" + (f", answers of {', '.join(changed[:5])}" if changed else ""),
            fix="generate them again, or use the texts as a prompt file of your own",
        )
    return frozen


def check_answer(knowledge: Knowledge, class_id: str, answer: str) -> tuple[tuple[str, ...], tuple[Dropped, ...]]:
    """The statements of `answer` that the knowledge supports, and the others with reasons.

    A statement is supported when one class, the asked one or one below it, has all of its terms
    among its name, synonyms, findings, leads and criteria. A term that an absence word governs
    ("no P waves") is another term than the same word without it.
    """
    support = [_terms_of(entry) for entry in knowledge.family(class_id)]
    everything = frozenset().union(*support)
    kept: list[str] = []
    dropped: list[Dropped] = []
    seen: set[frozenset[str]] = set()
    for statement in clauses(answer):
        words = terms(statement)
        if not words:
            dropped.append(Dropped(statement=statement, reason="says nothing"))
        elif words in seen:
            dropped.append(Dropped(statement=statement, reason="said before"))
        elif any(words <= own for own in support):
            seen.add(words)
            kept.append(re.sub(r"\s+", " ", statement))
        else:
            dropped.append(Dropped(statement=statement, reason=_reason(words, everything, knowledge, class_id)))
    return tuple(kept), tuple(dropped)


def _reason(words: frozenset[str], everything: frozenset[str], knowledge: Knowledge, class_id: str) -> str:
    family = {entry.id for entry in knowledge.family(class_id)}
    for other in knowledge.classes:
        if other.id not in family and any(words == terms(name) for name in (other.name, *other.synonyms)):
            return f"names another class: {other.name}"
    unknown = sorted(words - everything)
    if unknown:
        return "not in the knowledge of this class: " + ", ".join(unknown)
    return "its terms belong to different classes below this one"


def _terms_of(entry: KnowledgeClass) -> frozenset[str]:
    texts: Sequence[str | None] = [entry.name, *entry.synonyms]
    texts = [*texts, *(part for f in entry.findings for part in (f.seen, f.where, f.criterion))]
    return frozenset().union(*(terms(text) for text in texts if text))
