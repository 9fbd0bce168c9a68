"""``medfm cache``: look at, verify or clean the embedding store."""

from __future__ import annotations

import click

from medfm.cli.common import Verb, VerbGroup, json_option, print_json, table

_FOLDER = click.option("--cache", type=click.Path(), help="Cache folder [MEDFM_CACHE, else ~/.cache/medfm].")


@click.group(cls=VerbGroup)
def command() -> None:
    """Look at, verify or clean the embedding store.

    Examples:
      medfm cache ls
      medfm cache verify
      medfm cache gc --encoder dinobloom-s --older-than 90 --dry-run
    Checked by verify: the SHA-256 of every shard, its format, its width, finite values.
    Common errors: another cache folder (--cache, MEDFM_CACHE); no right to write there.
    """


@command.command("ls", cls=Verb)
@_FOLDER
@json_option
def ls(cache: str | None, as_json: bool) -> int:
    """List what is stored: per encoder and precision its vectors, bytes and last use.

    Examples:
      medfm cache ls
      medfm cache ls --json
      medfm cache ls --cache /data/medfm
    A vector that two processes both computed counts twice until 'medfm cache gc'.
    """
    from medfm.embeddings.maintenance import holdings
    from medfm.embeddings.store import embeddings_folder

    found = holdings(cache)
    if as_json:
        print_json({"folder": str(embeddings_folder(cache)), "encoders": [h.to_dict() for h in found]})
        return 0
    if not found:
        click.echo(f"Nothing is stored in {embeddings_folder(cache)}.")
        return 0
    rows = [
        (
            h.encoder,
            h.weights_kind,
            h.fingerprint[:12],
            h.precision,
            h.items,
            _size(h.size),
            h.to_dict()["last_used"][:10],
        )
        for h in found
    ]
    table(
        rows,
        ("encoder", "weights", "fingerprint", "precision", "items", "size", "last used"),
        title=str(embeddings_folder(cache)),
    )
    return 0


@command.command("verify", cls=Verb)
@_FOLDER
@json_option
def verify(cache: str | None, as_json: bool) -> int:
    """Read every shard and compare its SHA-256 with its name.

    Examples:
      medfm cache verify
      medfm cache verify --json
      medfm cache verify --cache /data/medfm
    Exit code 1 when a shard is truncated or changed. Such shards are never used by a run;
    'medfm cache gc' removes them, and the next run embeds their records again.
    """
    from medfm.embeddings.maintenance import verify as check

    found = check(cache)
    if as_json:
        print_json(
            {
                "shards": found.shards,
                "items": found.items,
                "temporary_files": found.temporary,
                "problems": [{"shard": p.shard, "reason": p.reason} for p in found.problems],
            }
        )
        return 0 if found.whole else 1
    for problem in found.problems:
        click.echo(f"{problem.shard}: {problem.reason}")
    state = "all whole" if found.whole else f"{len(found.problems)} damaged (medfm cache gc removes them)"
    left = f"; {found.temporary} temporary files" if found.temporary else ""
    click.echo(f"{found.shards} shards, {found.items} vectors: {state}{left}.")
    return 0 if found.whole else 1


@command.command("gc", cls=Verb)
@_FOLDER
@click.option("--encoder", metavar="ID", help="Remove all vectors of this encoder (id or fingerprint).")
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Remove what was not used for DAYS.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def gc(cache: str | None, encoder: str | None, older_than: float | None, dry_run: bool, as_json: bool) -> int:
    """Remove left-over temporary files, damaged shards and vectors stored twice.

    Examples:
      medfm cache gc --dry-run
      medfm cache gc
      medfm cache gc --encoder dinobloom-s --older-than 90
    With --encoder or --older-than also everything of those encoders (of both, where both are
    given). Temporary files younger than an hour stay: they may belong to a running process.
    """
    from medfm.embeddings.maintenance import clean

    done = clean(cache, encoder=encoder, older_than_days=older_than, dry_run=dry_run)
    if as_json:
        print_json(done.to_dict())
        return 0
    for name in done.encoders:
        click.echo(f"{'would remove' if dry_run else 'removed'} all of {name}")
    click.echo(
        f"{'would remove' if dry_run else 'removed'} {done.temporary} temporary files, {done.damaged} damaged shards, "
        f"{done.duplicates} double vectors; {'would merge' if dry_run else 'merged'} {done.merged_shards} shards; "
        f"{_size(done.freed)} {'would be' if dry_run else ''} freed".replace("  ", " ")
    )
    return 0


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
