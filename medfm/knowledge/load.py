"""Knowledge files by the name of their domain, or by path."""

from __future__ import annotations

from pathlib import Path

from medfm.core.config import load_config
from medfm.core.errors import ConfigError
from medfm.core.names import unknown_name
from medfm.core.resources import data_folder
from medfm.knowledge.schema import Knowledge


def knowledge_folder() -> Path:
    """The folder of the shipped knowledge files."""
    return data_folder("configs") / "knowledge"


def list_knowledge() -> list[str]:
    """Domains of the shipped knowledge files."""
    return sorted(path.stem for path in knowledge_folder().glob("*.yaml"))


def load_knowledge(name: str | Path) -> Knowledge:
    """The shipped knowledge of the domain `name`, or the one in the YAML file at that path.

    Raises:
        UnknownNameError: No such domain; near ones are named.
        ConfigError: The file breaks the schema; one line per problem.
    """
    text = str(name)
    if text.endswith((".yaml", ".yml")):
        return load_config(Knowledge, text)
    path = knowledge_folder() / f"{text}.yaml"
    if not path.is_file():
        raise unknown_name("knowledge", text, list_knowledge())
    return load_config(Knowledge, path)


def own_label_set(knowledge: Knowledge, name: str) -> None:
    """Say to which domain a label set belongs, where it is not one of `knowledge`.

    Raises:
        ConfigError: Another shipped domain has a label set of that name.
        UnknownNameError: None has.
    """
    if name in knowledge.label_sets:
        return
    for domain in list_knowledge():
        if domain != knowledge.domain and name in load_knowledge(domain).label_sets:
            raise ConfigError(
                f"The label set '{name}' is about {domain}, and what is asked here is about {knowledge.domain}.",
                where="label_set",
                expected=f"a label set of {knowledge.domain} (medfm knowledge show {knowledge.domain})",
                fix="name another with --label-set, or mend --modality",
            )
    knowledge.label_set(name)
