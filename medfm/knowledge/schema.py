"""What a knowledge file holds: classes with findings, codes and sources, label sets, templates.

A code is believed only with the place where it was checked; a class only if its parents exist.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator
from typing_extensions import Self

from medfm.core.config import StrictConfig
from medfm.core.names import did_you_mean, unknown_name

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]*$")]


class Finding(StrictConfig):
    """One thing that is seen: what, where, and by which criterion."""

    seen: Text = Field(description="what is seen, in words; an absence starts with 'no'")
    where: Text | None = Field(None, description="in which leads or region; empty where it is everywhere")
    criterion: Text | None = Field(None, description="the measurement that decides, in a clause")


class Code(StrictConfig):
    """One code of a class in one coding system."""

    value: Text
    checked_in: Text = Field(description="name of the code table (see `code_tables`) where the code was looked up")
    meaning: Text | None = Field(None, description="what that table calls it, where it differs from the class")


class Source(StrictConfig):
    """A standard or guideline and the section in it."""

    standard: Text
    section: Text


class KnowledgeClass(StrictConfig):
    """One class: a diagnosis, a finding or a rhythm."""

    id: Identifier
    name: Text
    synonyms: tuple[Text, ...] = ()
    parent: Identifier | None = None
    findings: tuple[Finding, ...] = ()
    differential: tuple[Text, ...] = Field((), description="what may look alike, in words")
    codes: dict[str, Code] = Field({}, description="coding system -> code")
    sources: tuple[Source, ...] = Field((), description="empty where no source was sure; never a guess")
    note: Text | None = None


class LabelSet(StrictConfig):
    """The labels of one task, in the order of its files, each with the class it stands for."""

    title: Text
    labels: dict[str, Identifier] = Field(min_length=1, description="label -> class id, in order")
    names: dict[str, Text] = Field({}, description="label -> what a paper asks for it with; the class's name elsewhere")
    templates: tuple[Text, ...] = Field((), description="that paper's templates for this set, each with {name}")
    grades: bool = Field(False, description="the labels are steps of one scale, in rising order")
    unasked: dict[str, Text] = Field(
        {}, description="label of the data set without a text of its own -> why; not asked"
    )
    source: Text = Field(description="where the list of labels was read")
    note: Text | None = None

    @model_validator(mode="after")
    def _published(self) -> Self:
        stray = [label for label in self.names if label not in self.labels]
        if stray:
            raise ValueError(
                f"'{stray[0]}' has a published name but is no label; {did_you_mean(stray[0], self.labels)}"
            )
        both = [label for label in self.unasked if label in self.labels]
        if both:
            raise ValueError(f"'{both[0]}' is among the labels and among the unasked ones")
        for template in self.templates:
            check_template(template, ("name",))
        return self


class ContextTemplates(StrictConfig):
    """Templates for prompts that name the patient's age and sex; the parts known are used."""

    age_and_sex: Text = Field(description="with {name}, {age} and {sex}")
    age: Text = Field(description="with {name} and {age}")
    sex: Text = Field(description="with {name} and {sex}")

    @model_validator(mode="after")
    def _fields(self) -> Self:
        for key, needed in (("age_and_sex", ("age", "sex")), ("age", ("age",)), ("sex", ("sex",))):
            check_template(getattr(self, key), ("name", *needed))
        return self


class Knowledge(StrictConfig):
    """One domain's knowledge."""

    domain: Identifier
    title: Text
    version: int = Field(ge=1)
    language: Literal["en"] = "en"
    reviewed_by: Text = Field(description="the clinician who reviewed it; 'none' until one has")
    sources_required: bool = Field(False, description="whether a class without a source is an error")
    templates: tuple[Text, ...] = Field(min_length=1, description="each with {name}")
    context: ContextTemplates | None = None
    code_tables: dict[str, Text] = Field({}, description="name of a table of codes -> what and where it is")
    classes: tuple[KnowledgeClass, ...] = Field(min_length=1)
    label_sets: dict[str, LabelSet] = {}

    @field_validator("templates")
    @classmethod
    def _templates(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            check_template(template, ("name",))
        return templates

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [c.id for c in self.classes]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"these class ids are given twice: {', '.join(twice)}")
        bare = [c.id for c in self.classes if not c.sources] if self.sources_required else []
        if bare:
            raise ValueError(
                f"{len(bare)} classes have no source: {', '.join(bare[:5])}; name the standard and its section"
            )
        parents = {c.id: c.parent for c in self.classes}
        for entry in self.classes:
            if entry.parent is not None and entry.parent not in parents:
                raise ValueError(
                    f"the parent '{entry.parent}' of '{entry.id}' does not exist; {did_you_mean(entry.parent, ids)}"
                )
            for system, code in entry.codes.items():
                if code.checked_in not in self.code_tables:
                    raise ValueError(
                        f"the {system} code of '{entry.id}' was checked in '{code.checked_in}', "
                        f"which is not among code_tables; {did_you_mean(code.checked_in, self.code_tables)}"
                    )
        for start in ids:
            _refuse_cycle(start, parents)
        for name, label_set in self.label_sets.items():
            for label, target in label_set.labels.items():
                if target not in parents:
                    raise ValueError(
                        f"the label '{label}' of '{name}' stands for '{target}', which does not exist; "
                        f"{did_you_mean(target, ids)}"
                    )
        return self

    def entry(self, class_id: str) -> KnowledgeClass:
        """The class with the id `class_id`.

        Raises:
            UnknownNameError: There is none; near ids are named.
        """
        for candidate in self.classes:
            if candidate.id == class_id:
                return candidate
        raise unknown_name("class", class_id, [c.id for c in self.classes], where=f"knowledge '{self.domain}'")

    def label_set(self, name: str) -> LabelSet:
        """The label set called `name`.

        Raises:
            UnknownNameError: There is none; near names are given.
        """
        if name not in self.label_sets:
            raise unknown_name("label set", name, self.label_sets, where=f"knowledge '{self.domain}'")
        return self.label_sets[name]

    def children(self, class_id: str) -> tuple[KnowledgeClass, ...]:
        """The classes whose parent is `class_id`, in the order of the file."""
        return tuple(c for c in self.classes if c.parent == class_id)

    def family(self, class_id: str) -> tuple[KnowledgeClass, ...]:
        """The class `class_id` and everything below it, parents before children."""
        own = self.entry(class_id)
        return (own, *(c for child in self.children(class_id) for c in self.family(child.id)))

    def parts(self, class_id: str) -> tuple[KnowledgeClass, ...]:
        """The classes through which `class_id` is seen: those at or below it with fewer than two children.

        Two or more children stand for their parent; an only child leaves a rest that is the parent's own.
        """
        return tuple(c for c in self.family(class_id) if len(self.children(c.id)) < 2)


def check_template(template: str, needed: tuple[str, ...]) -> None:
    """Refuse a template that lacks a field of `needed` or has another.

    Raises:
        ValueError: With what is wrong.
    """
    from string import Formatter

    fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    if fields != set(needed):
        wanted = ", ".join(f"{{{n}}}" for n in needed)
        raise ValueError(f"the template '{template}' must hold exactly {wanted}")


def _refuse_cycle(start: str, parents: dict[str, str | None]) -> None:
    path = [start]
    following = parents[start]
    while following is not None:
        if following in path:
            raise ValueError(f"the parents of '{start}' go in a circle: {' -> '.join([*path, following])}")
        path.append(following)
        following = parents[following]
