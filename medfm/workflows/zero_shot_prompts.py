"""What a zero-shot run asks: the classes of a target, their prompts under each strategy, their tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medfm.core.errors import ConfigError, MedfmError
from medfm.core.hashing import sha256_file
from medfm.core.names import unknown_name
from medfm.evaluation.protocol import ZeroShot
from medfm.knowledge.encoded import EncodedText, encoded_texts
from medfm.knowledge.load import list_knowledge, load_knowledge, own_label_set
from medfm.knowledge.matching import match_classes
from medfm.knowledge.prompt_file import prompts_from_file
from medfm.knowledge.prompts import ClassPrompts, Context, PromptSet, build_prompts, list_strategies
from medfm.knowledge.published import as_published, flair_prompts, published_names
from medfm.knowledge.schema import Knowledge, check_template

FILE = "file@1"
_IN_CONTEXT = "context@1"


@dataclass(frozen=True)
class Question:
    """The prompts of one strategy.

    Attributes:
        strategy: ``name@version``.
        prompts: The prompts; for a strategy of contexts those of an unknown person.
        in_context: Makes the prompts of a context, where they depend on it.
    """

    strategy: str
    prompts: PromptSet
    in_context: Callable[[Context], PromptSet] | None = None

    def texts(self, contexts: Sequence[Context] = ()) -> list[str]:
        """Every different text that will be encoded for records of these contexts."""
        if self.in_context is None:
            return self.prompts.texts()
        sets = [self.in_context(context) for context in dict.fromkeys(contexts)] or [self.prompts]
        return list(dict.fromkeys(text for prompts in sets for text in prompts.texts()))


@dataclass(frozen=True)
class Questions:
    """Everything that is asked.

    Attributes:
        asked: One entry per strategy; the first is the headline.
        classes: Class ids of the knowledge behind each label; empty where only a file is asked.
        knowledge: What the prompts were made from; ``None`` where only a file is asked.
        label_set: Name of the label set in use.
        file: Name and SHA-256 of the prompt file in use.
        stand_in: Whether the headline stands in for a published prompt file that was not given.
        notes: What a reader must know: classes without a source, names that a file lacks.
    """

    asked: tuple[Question, ...]
    classes: dict[str, tuple[str, ...]]
    knowledge: Knowledge | None
    label_set: str | None
    file: dict[str, str] | None
    stand_in: bool
    notes: tuple[str, ...] = ()


def strategies_of(method: ZeroShot, named: Sequence[str] = ()) -> list[str]:
    """The strategies to run: those named, else the prompt file where there is one, else the protocol's.

    Raises:
        UnknownNameError: No such strategy.
        ConfigError: The protocol wants a prompt file and has no stand-in for it.
    """
    if named:
        chosen = list(dict.fromkeys(named))
    elif method.prompt_file is not None:
        chosen = [FILE]
    elif method.strategy == FILE and method.without_file is not None:
        chosen = [method.without_file]
    else:
        chosen = [method.strategy]
    for name in chosen:
        if name not in (*list_strategies(), FILE):
            raise unknown_name("prompt strategy", name, [*list_strategies(), FILE])
    if FILE in chosen and method.prompt_file is None:
        raise ConfigError(
            "The strategy file@1 takes its prompts from a file, and none is named.",
            where="method.prompt_file",
            fix="name a JSON or YAML file of LABEL: text with --prompt-file FILE",
        )
    return chosen


def _of_paper(knowledge: Knowledge, label_set: str, paper: str) -> str:
    """Which label set of `paper` belongs to the data of `label_set`, in words."""
    ending = f"-{paper}"
    same = [s for s in knowledge.label_sets if s.endswith(ending) and label_set.startswith(s.removesuffix(ending))]
    return (
        f"the label set {max(same, key=len)}"
        if same
        else f"a label set with '{ending}' in its name (medfm knowledge list)"
    )


def questions(
    method: ZeroShot,
    labels: Sequence[str],
    *,
    strategies: Sequence[str] = (),
    modality: str = "",
    label_set: str | None = None,
    given: Mapping[str, str] | None = None,
) -> Questions:
    """The prompts of `labels` under every strategy.

    Args:
        method: The protocol's method.
        labels: Class or label names of the target.
        strategies: As of :func:`strategies_of`.
        modality: Of the cohort; its knowledge is used where the method names none.
        label_set: The cohort's label set; the method's own wins.
        given: Label -> class of the knowledge (or key of the prompt file), as ``--map-class`` takes.

    Raises:
        ConfigError: A label has no prompt, a file cannot be read, or no knowledge exists.
        UnknownNameError: A strategy, domain or label set does not exist.
    """
    chosen = strategies_of(method, strategies)
    label_set = method.label_set or label_set
    knowledge: Knowledge | None = None
    classes: dict[str, tuple[str, ...]] = {}
    words: Knowledge | None = None
    notes: list[str] = []
    published = method.names == "published"
    if published and label_set is None:
        raise ConfigError(
            "The protocol asks with a paper's class names, and no label set says which paper.",
            where="method.names",
            fix="name the set with --label-set SET, or ask with our names: --set method.names=own",
        )
    # The names of label sets are ours; a knowledge file of the user's may have any.
    shipped = method.knowledge is None
    if published and shipped and method.paper is not None and f"-{method.paper}" not in str(label_set):
        raise ConfigError(
            f"The protocol asks with the class names of '{method.paper}', and the label set '{label_set}' has other ones.",
            where="method.paper",
            expected=_of_paper(_knowledge(method, modality), str(label_set), method.paper),
            fix=f"name it with --label-set, or prepare the set as its variant @{method.paper}",
        )
    # FLAIR's dictionary is asked by category names, which come from the label set.
    if published or any(name != FILE for name in chosen):
        knowledge = _knowledge(method, modality)
        if label_set is not None:
            own_label_set(knowledge, str(label_set))
        classes = match_classes(knowledge, labels, label_set, given)
        words = _templated(as_published(knowledge, str(label_set)) if published else knowledge, method)
        notes += _unsourced(knowledge, classes)
        if published:
            listed = set(knowledge.label_set(str(label_set)).labels.values())
            beside = [name for name, ids in classes.items() if not listed.issuperset(ids)]
            if beside:
                notes.append(
                    f"Not in the paper's list '{label_set}' and asked by our names: {', '.join(beside)}; "
                    "--leave-out does without them."
                )
    asked, file = [], None
    for name in chosen:
        if name == FILE:
            path = str(method.prompt_file)
            if method.file_as == "flair":
                named = dict(given or {}) if knowledge is None else {}
                names: dict[str, tuple[str, ...]] = {label: (named.get(label, label),) for label in labels}
                if knowledge is not None and published:
                    known = published_names(knowledge, str(label_set))
                    names = {k: tuple(known.get(i, knowledge.entry(i).name) for i in classes[k]) for k in labels}
                prompts, lacking = flair_prompts(prompts_from_file(path), names, method.templates or ("{name}",))
                if lacking:
                    notes.append(
                        f"{len(lacking)} names are not in the prompt file and are asked alone: {', '.join(lacking)}."
                    )
            else:
                prompts = _from_file(path, labels, given or {})
            file = {"name": Path(path).name, "sha256": sha256_file(Path(path))}
            asked.append(Question(name, _ruled(prompts, method)))
            continue
        assert words is not None
        build = _builder(words, classes, name, method)
        asked.append(Question(name, build(Context()), build if name == _IN_CONTEXT else None))
    return Questions(
        tuple(asked),
        classes,
        knowledge,
        label_set,
        file,
        stand_in=method.without_file is not None and chosen[0] != FILE,
        notes=tuple(notes),
    )


def _builder(
    knowledge: Knowledge, classes: dict[str, tuple[str, ...]], name: str, method: ZeroShot
) -> Callable[[Context], PromptSet]:
    return lambda context: _ruled(build_prompts(knowledge, classes, name, context=context), method)


def _ruled(prompts: PromptSet, method: ZeroShot) -> PromptSet:
    return replace(prompts, prototype=method.prototype, together=method.together)


def _unsourced(knowledge: Knowledge, classes: Mapping[str, Sequence[str]]) -> list[str]:
    asked = dict.fromkeys(i for ids in classes.values() for i in ids)
    bare = [i for i in asked if not knowledge.entry(i).sources]
    if not bare:
        return []
    return [f"{len(bare)} of {len(asked)} classes asked have no source in the knowledge: {', '.join(bare[:5])}."]


def _knowledge(method: ZeroShot, modality: str) -> Knowledge:
    if method.knowledge is None and modality not in list_knowledge():
        raise ConfigError(
            f"There is no knowledge of {modality or 'this modality'} to make prompts from.",
            expected=f"a domain ({', '.join(list_knowledge())}) or a YAML file (docs/knowledge.md)",
            fix="name one with --knowledge, or give ready prompts with --prompt-file",
        )
    return load_knowledge(method.knowledge or modality)


def _templated(knowledge: Knowledge, method: ZeroShot) -> Knowledge:
    """With the method's templates, where it has any."""
    if not method.templates:
        return knowledge
    for template in method.templates:
        try:
            check_template(template, ("name",))
        except ValueError as error:
            raise ConfigError(f"{str(error).capitalize()}.", where="method.templates") from error
    return knowledge.model_copy(update={"templates": method.templates})


def _from_file(path: str, labels: Sequence[str], given: Mapping[str, str]) -> PromptSet:
    """The file's prompts under the labels of the target."""
    stray = [name for name in given if name not in labels]
    if stray:
        raise ConfigError(f"There is no class '{stray[0]}' to map.", where="--map-class")
    known = set(prompts_from_file(path).labels)
    keys: dict[str, list[str]] = {}
    for label in labels:
        wanted = given.get(label, label)
        keys[label] = [wanted] if wanted in known else wanted.split("+")
    found = prompts_from_file(path, list(dict.fromkeys(key for parts in keys.values() for key in parts)))
    groups = {entry.label: entry.groups for entry in found.classes}
    return PromptSet(
        found.strategy,
        tuple(ClassPrompts(label, tuple(g for key in parts for g in groups[key])) for label, parts in keys.items()),
        found.source,
    )


def reaching_the_tower(texts: Sequence[str], encoder: Any, lower_case: bool) -> list[EncodedText]:
    """What of each text reaches the text tower; empty for a tower that does not show its tokens.

    Raises:
        OfflineError, WeightsError, CardError: There is no tokenizer or no text tower.
    """
    tokenizer = getattr(encoder, "text_tokenizer", None)
    if tokenizer is None:
        return []
    return encoded_texts(texts, tokenizer, tokenizer.max_tokens, lower_case=lower_case)


def token_counts(texts: Sequence[str], card: Any, lower_case: bool) -> tuple[dict[str, int], str]:
    """Tokens of each text by the card alone (no weights, no network), and why there are none where they are unknown."""
    from medfm.encoders.tokens import tokenizer_of_card

    tokenizer = tokenizer_of_card(card)
    if tokenizer is None:
        return {}, f"The encoder '{card.id}' has no text tower: it cannot be asked zero-shot."
    if not tokenizer.present:
        return {}, f"Tokens cannot be counted: {tokenizer.wanted} is not there."
    try:
        given = [text.lower() if lower_case else text for text in texts]
        return dict(zip(texts, tokenizer.lengths(given), strict=True)), ""
    except MedfmError as error:
        return {}, f"Tokens cannot be counted: {error.what}"
