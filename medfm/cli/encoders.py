"""``medfm encoders``: list the encoders, or show one model card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from medfm.cli.common import Verb, json_option, print_json, table

if TYPE_CHECKING:
    from medfm.encoders.card import Card
    from medfm.encoders.card_schema import ClassifierSpec

_HELP = """List the encoders, or show one model card.

Examples:
  medfm encoders                       every encoder: modality, size, licence, weights here?
  medfm encoders show dinobloom-b      one card: what it is, weights, traps, published figures
  medfm encoders show my/card.md       a card of your own; also a folder that pretrain wrote

Checked: every card against the schema (a wrong key is named), ids claimed twice.
Cards are looked for beside the shipped ones in the folders of MEDFM_CARDS and in installed
packages (entry point medfm.encoders). Weights: MEDFM_WEIGHTS, then the hub's cache.

Common errors: a misspelt id (near ones are named); a card with an unknown key; MEDFM_CARDS
naming a folder that does not exist.
"""


class _Group(click.Group):
    """A group whose help keeps its line breaks."""

    format_help_text = Verb.format_help_text  # type: ignore[assignment]


@click.group("encoders", cls=_Group, invoke_without_command=True, help=_HELP)
@click.option("--modality", help="Only encoders of this modality.")
@json_option
@click.pass_context
def command(context: click.Context, modality: str | None, as_json: bool) -> None:
    """List the encoders (see the help text above)."""
    if context.invoked_subcommand is not None:
        return
    from medfm.encoders.registry import list_cards

    rows = [_row(card) for card in list_cards(modality)]
    if as_json:
        print_json({"encoders": rows})
        return
    if not rows:
        known = ", ".join(sorted({card.modality for card in list_cards()}))
        click.echo(f"No encoder takes '{modality}'. There are encoders for: {known}.")
        return
    shown = [
        (r["id"], r["modality"], r["embedding_dim"], _millions(r["parameters"]), r["licence"], r["weights"])
        for r in rows
    ]
    table(shown, ("id", "modality", "dim", "params", "licence", "weights here"))
    click.echo("\nOne card: medfm encoders show ID. What is missing, and from where: medfm doctor.")


@command.command("show", cls=Verb)
@click.argument("encoder")
@json_option
def show(encoder: str, as_json: bool) -> None:
    """Show one model card.

    Examples:
      medfm encoders show dinobloom-b
      medfm encoders show dinobloom-b --json
      medfm encoders show runs/tiny-encoder

    Checked: the card against the schema. Nothing is downloaded.
    Common errors: a misspelt id; a folder without card.md.
    """
    from medfm.encoders.registry import get_card

    card = get_card(encoder)
    if as_json:
        print_json({**_row(card), "card": card.header.to_dict(), "sha256": card.sha256, "text": card.prose})
        return
    click.echo(card.prose.rstrip() + "\n")
    for title, lines in _sections(card):
        click.echo(click.style(title, bold=True))
        for line in lines:
            click.echo(_wrapped(line))
        click.echo("")


def _wrapped(line: str) -> str:
    """A line folded to the terminal between words, continued further in; hashes and paths stay whole."""
    import shutil
    import textwrap

    width = min(100, shutil.get_terminal_size().columns)
    return textwrap.fill(
        line, width, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _row(card: Card) -> dict[str, Any]:
    from medfm.encoders.weights import find_local

    found = find_local(card)
    absent = "no" if card.spec.weights.sources else "none published" if card.spec.weights.needed else "none needed"
    return {
        "id": card.id,
        "title": card.title,
        "summary": card.spec.summary,
        "modality": card.modality,
        "embedding_dim": card.embedding_dim,
        "parameters": card.spec.parameters,
        "licence": card.licence + (" (conflict)" if card.spec.licence_note.startswith("CONFLICT") else ""),
        "weights": absent if found is None else str(found.kind),
    }


def _millions(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f} M"


def _sections(card: Card) -> list[tuple[str, list[str]]]:
    from medfm.encoders.weights import describe

    spec = card.spec
    size = " x ".join(map(str, spec.input.shape[1:])) + " pixels"
    if len(spec.input.shape) == 2:
        size = f"{spec.input.shape[0]} leads ({spec.input.channel_order}) x {spec.input.shape[1]} samples"
    elif len(spec.input.shape) == 4:
        size = " x ".join(map(str, spec.input.shape[1:])) + f" voxels ({spec.input.channel_order})"
    facts = [
        f"id {card.id}, modality {card.modality}, embedding {spec.embedding.what}, {spec.embedding.dim} numbers",
        f"architecture {spec.architecture.family} {spec.architecture.args}, "
        f"{_millions(spec.parameters) or 'unknown number of'} parameters",
        f"input {size}" + (f", {spec.input.units}" if spec.input.units else ""),
        "preprocessing " + " > ".join(_step(step.to_dict()) for step in spec.preprocessing),
        *(
            f"preprocessing for {name}: " + " > ".join(_step(step.to_dict()) for step in steps)
            for name, steps in spec.preprocessing_variants.items()
        ),
        *([_answers(spec.classifier)] if spec.classifier else []),
        *([f"text tower {spec.text.tower}, at most {spec.text.max_tokens} tokens"] if spec.text else []),
        f"licence {card.licence}. {spec.licence_note}".strip(),
    ]
    weights = [
        f"{describe(source)}; sha256 {source.sha256 or 'not known'}" + (f"; {source.layout}" if source.layout else "")
        for source in spec.weights.sources
    ]
    if spec.generator is not None:
        parts = {name: getattr(spec.generator, name) for name in ("autoencoder", "prior", "denoiser")}
        weights += [
            f"{name} ({_millions(part.parameters) or 'unknown number of'} parameters): {describe(source)}"
            for name, part in parts.items()
            for source in part.weights.sources
        ]
    data = [f"{entry.title}: {entry.status}{'. ' + entry.note if entry.note else ''}" for entry in spec.training_data]
    results = []
    for source in dict.fromkeys((entry.sourcing, entry.source) for entry in spec.results):
        for entry in spec.results:
            if (entry.sourcing, entry.source) == source:
                value = (
                    "not sourced"
                    if entry.value is None
                    else format(entry.value, ".3f" if entry.value >= 0.01 else ".4f")
                )
                results.append(f"{entry.name}{' (' + entry.variant + ')' if entry.variant else ''}: {value}")
        results.append(f"source of the figures above, {source[0]}: {source[1]}")
    sections = [
        ("Facts", facts),
        ("Weights", weights or [_no_sources(spec.weights.needed)]),
        ("Training data", data),
        ("Published figures (none of them measured here)", results),
        ("Deviations and traps", list(spec.deviations)),
        ("To cite", [spec.citation] if spec.citation else []),
    ]
    return [(title, lines) for title, lines in sections if lines]


def _answers(spec: ClassifierSpec) -> str:
    never = f"; never trained: {', '.join(spec.not_trained)}" if spec.not_trained else ""
    points = "; operating points in the card" if spec.operating_points else ""
    return f"classifier of {len(spec.classes)}: {', '.join(spec.classes)}{never}{points}"


def _step(step: dict[str, Any]) -> str:
    arguments = ", ".join(f"{key} {value}" for key, value in step.items() if key != "step")
    return step["step"] + (f" ({arguments})" if arguments else "")


def _no_sources(needed: bool) -> str:
    return "none published; use weights='random' or train one" if needed else "none needed: a fixed formula"
