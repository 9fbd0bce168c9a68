"""Model cards: reading, checking and writing ``model_cards/ID.md``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from medfm.core.config import build, parse_yaml
from medfm.core.errors import CardError, ConfigError, UnknownNameError
from medfm.core.files import write_text
from medfm.core.hashing import sha256_bytes
from medfm.encoders.card_schema import CardHeader, EncoderSpec
from medfm.encoders.families import check_architecture

_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Card:
    """A model card as read.

    Attributes:
        path: The file.
        header: The whole front matter.
        prose: The text below it, Markdown.
        sha256: Hash of the file's bytes.
    """

    path: Path
    header: CardHeader
    prose: str
    sha256: str

    @property
    def spec(self) -> EncoderSpec:
        """The ``medfm:`` block."""
        return self.header.medfm

    @property
    def id(self) -> str:
        """The encoder's id."""
        return self.spec.id

    @property
    def title(self) -> str:
        """What people call it."""
        return self.spec.title

    @property
    def modality(self) -> str:
        """The modality it takes."""
        return self.spec.modality

    @property
    def modalities(self) -> tuple[str, ...]:
        """Every modality it may be used on; the one it was made for comes first."""
        return (self.spec.modality, *self.spec.also_for)

    @property
    def embedding_dim(self) -> int:
        """Length of one embedding."""
        return self.spec.embedding.dim

    @property
    def licence(self) -> str:
        """Licence of the weights, SPDX id as the hub spells it."""
        return self.header.license

    @property
    def folder(self) -> Path:
        """Where files of the card lie."""
        return self.path.parent


def read_card(path: str | Path) -> Card:
    """Read and check one card.

    Raises:
        CardError: The file is missing, has no front matter, or breaks the schema; every wrong
            key is named.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
        text = data.decode("utf-8")
    except FileNotFoundError as error:
        raise CardError("The model card does not exist.", where=str(file)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"The model card cannot be read as UTF-8 text: {error}.", where=str(file)) from error
    match = _FRONT.match(text)
    if match is None:
        raise CardError(
            "The file has no front matter.",
            where=str(file),
            expected="a line '---', YAML, a line '---', then the text",
            fix="see docs/encoders.md for an example",
        )
    try:
        header = build(CardHeader, parse_yaml(match[1], str(file)), where=str(file))
        check_architecture(header.medfm, str(file))
    except (ConfigError, UnknownNameError) as error:
        raise CardError(
            f"The model card breaks the schema. {error.what}",
            where=error.where or str(file),
            expected=error.expected,
            fix=error.fix or "docs/encoders.md explains every key",
        ) from error
    return Card(file, header, match[2].strip() + "\n", sha256_bytes(data))


def render_card(header: CardHeader, prose: str) -> str:
    """The text of a card file; :func:`read_card` gives the same header and prose back."""
    values = header.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    # Tags of unions are defaults of their models and must stay.
    values["medfm"] = header.medfm.model_dump(mode="json", exclude_unset=False)
    front = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{front}---\n\n{prose.strip()}\n"


def write_card(path: str | Path, header: CardHeader, prose: str) -> Card:
    """Write a card atomically and read it back, so that a wrong one is never left behind."""
    write_text(path, render_card(header, prose))
    return read_card(path)
