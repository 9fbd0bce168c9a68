"""``medfm knowledge``: look at the knowledge, at the prompts made from it, and have some written and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from medfm.cli.common import Verb, VerbGroup, json_option, print_json, table

if TYPE_CHECKING:
    from medfm.knowledge.ckepe import Provider
    from medfm.knowledge.schema import Knowledge, KnowledgeClass

_HELP = """List the knowledge files; show a class, a label set or its prompts.

Examples:
  medfm knowledge                              every domain: version, classes, label sets, reviewed?
  medfm knowledge show ecg lvh                 one class: findings, codes, sources
  medfm knowledge show ecg --labels cpsc2018   the classes behind a label set
  medfm knowledge prompts ecg ptbxl-super --strategy findings@1
  medfm knowledge ckepe ecg ptbxl-super --folder models/small --out ckepe.yaml

A domain may also be a YAML file of your own. No clinician has reviewed the shipped files.

Checked: every file against the schema; a wrong name is answered with the nearest.
Common errors: a misspelt class or label set; a language model that is not in a local folder.
"""


@click.group("knowledge", cls=VerbGroup, invoke_without_command=True, help=_HELP)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the knowledge files (see the help text above)."""
    if context.invoked_subcommand is not None:
        return
    from medfm.knowledge.load import list_knowledge, load_knowledge

    rows = [_about(load_knowledge(name)) for name in list_knowledge()]
    if as_json:
        print_json({"knowledge": rows})
        return
    shown = [(r["domain"], r["version"], r["classes"], ", ".join(r["label_sets"]), r["reviewed_by"]) for r in rows]
    table(shown, ("domain", "version", "classes", "label sets", "reviewed by"))


@command.command("show", cls=Verb)
@click.argument("domain")
@click.argument("class_id", required=False)
@click.option("--labels", metavar="SET", help="Show a label set instead of a class.")
@json_option
def show(domain: str, class_id: str | None, labels: str | None, as_json: bool) -> None:
    """Show a class, a label set, or all class ids of a domain.

    Examples:
      medfm knowledge show ecg
      medfm knowledge show ecg lvh
      medfm knowledge show ecg --labels csn --json

    Checked: the file against the schema.
    Common errors: a misspelt class id or label set; near ones are named.
    """
    from medfm.knowledge.load import load_knowledge

    if class_id is not None and labels is not None:
        raise click.UsageError("Give a class id or --labels, not both.")
    knowledge = load_knowledge(domain)
    if class_id is not None:
        entry = knowledge.entry(class_id)
        if as_json:
            print_json(entry.to_dict())
        else:
            click.echo("\n".join(_lines(knowledge, entry)))
        return
    if labels is not None:
        chosen = knowledge.label_set(labels)
        pairs = {label: knowledge.entry(target) for label, target in chosen.labels.items()}
        if as_json:
            print_json(chosen.to_dict())
            return
        if chosen.names:
            table([(label, entry.id, entry.name, chosen.names.get(label, "")) for label, entry in pairs.items()],
                  ("label", "class", "name", "published name"))  # fmt: skip
        else:
            table([(label, entry.id, entry.name) for label, entry in pairs.items()], ("label", "class", "name"))
        for template in chosen.templates:
            click.echo(f"template: {template}")
        click.echo(f"\n{chosen.title}; source: {chosen.source}" + (f". {chosen.note}" if chosen.note else ""))
        return
    if as_json:
        print_json(_about(knowledge))
        return
    table([(c.id, c.name, c.parent or "") for c in knowledge.classes], ("class", "name", "below"))


@command.command("prompts", cls=Verb)
@click.argument("domain")
@click.argument("label_set")
@click.option("--strategy", default="findings@1", show_default=True, metavar="NAME", help="How prompts are made.")
@click.option("--published", is_flag=True, help="With the names and templates of the label set's paper.")
@json_option
def prompts(domain: str, label_set: str, strategy: str, published: bool, as_json: bool) -> None:
    """Print the prompts of every label with their weights.

    Examples:
      medfm knowledge prompts ecg ptbxl-super
      medfm knowledge prompts ecg csn --strategy synonyms@1
      medfm knowledge prompts histopathology nct-crc-quilt --strategy templates@1 --published

    Strategies: see docs/knowledge.md; a wrong name lists them.
    Common errors: a misspelt label set or strategy; near ones are named.
    """
    from medfm.knowledge.load import load_knowledge
    from medfm.knowledge.prompts import build_prompts
    from medfm.knowledge.published import as_published

    knowledge = load_knowledge(domain)
    made = build_prompts(as_published(knowledge, label_set) if published else knowledge, label_set, strategy)
    rows = [
        (c.label, number, p.text, round(p.weight, 4))
        for c in made.classes
        for number, group in enumerate(c.groups, start=1)
        for p in group
    ]
    if as_json:
        listed = [{"label": a, "group": b, "text": c, "weight": d} for a, b, c, d in rows]
        print_json({"strategy": made.strategy, "source": made.source, "sha256": made.digest(), "prompts": listed})
        return
    table([(label, text, f"{weight:g}") for label, _, text, weight in rows], ("label", "prompt", "weight"))
    click.echo(f"\n{made.strategy}, {len(made.texts())} different texts, sha256 {made.digest()[:16]}")


@command.command("ckepe", cls=Verb)
@click.argument("domain")
@click.argument("label_set")
@click.option("--folder", type=click.Path(file_okay=False), help="Folder of a local language model (safetensors).")
@click.option("--url", metavar="ADDRESS", help="OpenAI-compatible address instead, such as http://localhost:8000/v1.")
@click.option("--model", metavar="NAME", help="Name of the model at that address.")
@click.option("--max-new-tokens", default=256, show_default=True, type=click.IntRange(1), help="Longest local answer.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="YAML file to write.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier file.")
@json_option
def ckepe(
    domain: str,
    label_set: str,
    folder: str | None,
    url: str | None,
    model: str | None,
    max_new_tokens: int,
    out: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Have a language model write prompts, keep what the knowledge supports, freeze it.

    Examples:
      medfm knowledge ckepe ecg ptbxl-super --folder models/small --out ckepe.yaml
      medfm knowledge ckepe ecg csn --url http://localhost:8000/v1 --model NAME --out csn.yaml
      medfm knowledge ckepe mine.yaml my-labels --folder models/small --out mine-ckepe.yaml

    Only names of classes are sent, never a record. A folder is read offline, without its code;
    answers are greedy. The file holds questions, answers, what was dropped and why, and hashes.
    Common errors: pickled weights, a model with code of its own, the file exists (--overwrite).
    """
    from pathlib import Path

    from medfm.core.errors import StoreError
    from medfm.knowledge.ckepe import generate
    from medfm.knowledge.load import load_knowledge

    if Path(out).exists() and not overwrite:
        raise StoreError("The output file exists already.", where=out, fix="choose another name, or pass --overwrite")
    knowledge = load_knowledge(domain)
    knowledge.label_set(label_set)
    provider, name = _provider(folder, url, model, max_new_tokens)
    frozen = generate(knowledge, label_set, provider, name=name)
    frozen.save(out)
    kept = {label: len(entry.kept) for label, entry in frozen.labels.items()}
    dropped = {label: len(entry.dropped) for label, entry in frozen.labels.items()}
    if as_json:
        print_json({"out": out, "provider": name, "sha256": frozen.sha256, "kept": kept, "dropped": dropped})
        return
    table([(label, kept[label], dropped[label], e.prompt) for label, e in frozen.labels.items()],
          ("label", "kept", "dropped", "prompt"))  # fmt: skip
    bare = sum(not n for n in kept.values())
    click.echo(f"\n{sum(kept.values())} statements kept, {sum(dropped.values())} dropped; {bare} labels by name alone")
    click.echo(f"file      {out}")


def _provider(folder: str | None, url: str | None, model: str | None, most: int) -> tuple[Provider, str]:
    if (folder is None) == (url is None):
        raise click.UsageError("Name one language model: --folder FOLDER, or --url ADDRESS with --model NAME.")
    if folder is not None:
        from pathlib import Path

        from medfm.knowledge.local_provider import LocalModel

        local = LocalModel(Path(folder), max_new_tokens=most)
        return local, local.identity
    if not model:
        raise click.UsageError("--url needs --model NAME.")
    from medfm.knowledge.provider import OpenAICompatible

    return OpenAICompatible(str(url), model), model


def _about(knowledge: Knowledge) -> dict[str, Any]:
    return {
        "domain": knowledge.domain,
        "title": knowledge.title,
        "version": knowledge.version,
        "classes": len(knowledge.classes),
        "label_sets": list(knowledge.label_sets),
        "reviewed_by": knowledge.reviewed_by,
        "sha256": knowledge.digest(),
    }


def _lines(knowledge: Knowledge, entry: KnowledgeClass) -> list[str]:
    lines = [f"{entry.name} ({entry.id})" + (f", below {knowledge.entry(entry.parent).name}" if entry.parent else "")]
    if entry.synonyms:
        lines.append("also called: " + ", ".join(entry.synonyms))
    for finding in entry.findings:
        parts = [finding.seen, finding.where and f"in {finding.where}", finding.criterion]
        lines.append("  - " + "; ".join(part for part in parts if part))
    for system, code in entry.codes.items():
        there = f" as '{code.meaning}'" if code.meaning else ""
        lines.append(f"{system}: {code.value} (checked in {code.checked_in}{there})")
    lines += [f"source: {s.standard}; {s.section}" for s in entry.sources] or ["source: none was named"]
    children = knowledge.children(entry.id)
    if children:
        lines.append("below it: " + ", ".join(c.id for c in children))
    lines.append(f"{knowledge.title}, version {knowledge.version}, reviewed by: {knowledge.reviewed_by}")
    return lines
