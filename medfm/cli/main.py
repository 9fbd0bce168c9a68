"""The ``medfm`` command: verbs are imported only when they are used, so that help is quick."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path

import click

from medfm import __version__

# verb -> (module, attribute, one line for the overview), in the order people need them.
_VERBS = {
    "demo": ("medfm.cli.demo", "Run everything once, offline, on a synthetic cohort."),
    "doctor": ("medfm.cli.doctor", "Check this machine and say which weights are present."),
    "encoders": ("medfm.cli.encoders", "List the encoders, or show one model card."),
    "data": ("medfm.cli.data", "List, prepare, check, show or synthesize cohorts."),
    "embed": ("medfm.cli.embed", "Turn a cohort into embeddings (cached, resumable)."),
    "probe": ("medfm.cli.probe", "Evaluate an encoder on labels: linear probe, kNN, MIL."),
    "zeroshot": ("medfm.cli.zeroshot", "Score records against texts that describe the labels."),
    "fewshot": ("medfm.cli.fewshot", "Adapt to a few labelled records per class: learning curve."),
    "retrieve": ("medfm.cli.retrieve", "Search a cohort by text or record, and measure the search."),
    "survival": ("medfm.cli.survival", "Tell who has an event sooner: C-index, Kaplan-Meier."),
    "reconstruct": ("medfm.cli.reconstruct", "Draw scans from their codes, or visits between others."),
    "finetune": ("medfm.cli.finetune", "Adapt an encoder to labels: progressive, LoRA, LP-FT ..."),
    "predict": ("medfm.cli.predict", "Classify new records with a fine-tuned encoder."),
    "soup": ("medfm.cli.soup", "Average the weights of fine-tuned encoders into one."),
    "pretrain": ("medfm.cli.pretrain", "Train an encoder without labels."),
    "reproduce": ("medfm.cli.reproduce", "Run the published results of a model card."),
    "knowledge": ("medfm.cli.knowledge", "Look at the knowledge and at the prompts made from it."),
    "compare": ("medfm.cli.compare", "Compare two results record by record."),
    "report": ("medfm.cli.report", "Rebuild the report of a result folder."),
    "cache": ("medfm.cli.cache", "Look at, verify or clean the embedding store."),
}


class ReaderGoneError(Exception):
    """Whoever read standard output has closed it; not an OSError, which click would call exit code 1."""


class LazyGroup(click.Group):
    """A group whose sub-commands are imported on use."""

    def invoke(self, ctx: click.Context) -> object:
        """As click's; a closed pipe keeps its own exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except SystemExit as error:
            if isinstance(error.__context__, BrokenPipeError):  # rich answers a closed pipe by leaving
                raise ReaderGoneError from error
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order of the table above."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's file and return its ``command``."""
        if cmd_name not in _VERBS:
            return None
        command: click.Command = importlib.import_module(_VERBS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with "did you mean" for a wrong verb."""
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            from medfm.core.names import did_you_mean

            ctx.fail(f"There is no verb '{args[0]}'; {did_you_mean(args[0], _VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, without importing any verb."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, text) for verb, (_, text) in _VERBS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each verb explains itself: medfm VERB --help. Exit codes: 0 done, 1 ran and the answer is no, "
    "2 could not run.",
)
@click.version_option(__version__, prog_name="medfm")
@click.option("--debug", is_flag=True, help="Show Python tracebacks.")
def cli(debug: bool) -> None:
    """Medical foundation models: published encoders, one evaluation layer, reports."""
    if debug:
        os.environ["MEDFM_DEBUG"] = "1"


# What is left after Ctrl-C, and how to go on; the other verbs write nothing before they are done.
_STOPPED = {
    "embed": "What was embedded is kept; the same command goes on from there.",
    "probe": "What was embedded is kept; the same command goes on from there.",
    "zeroshot": "Texts and records embedded so far are kept; the same command goes on from there.",
    "retrieve": "What was embedded is kept; the same command goes on from there.",
    "reproduce": "What was embedded is kept; the same command goes on from there.",
    "pretrain": "If training had begun, its checkpoint is saved: the same command with --resume goes on from there.",
    "finetune": "Epochs that were done are saved: the same command with --resume goes on from there.",
    "predict": "What was embedded is kept; the same command goes on from there.",
    "demo": "The same command with --overwrite starts again.",
}
_PIPE_CLOSED = 141


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run and turn every error into one clear message and an exit code.

    0 done, 1 ran and the answer is no, 2 could not run (also a fault of medfm itself), 130 stopped
    by Ctrl-C, 141 the reader of the output went away (``medfm ... | head``).
    """
    from medfm.core.errors import MedfmError

    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(args=arguments, standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo(" ".join(filter(None, ["Stopped.", _STOPPED.get(_verb(given))])), err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except MedfmError as error:
        if _debug():
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except (ReaderGoneError, BrokenPipeError):
        # The interpreter flushes standard output once more at its end; nobody reads it.
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
        sys.exit(_PIPE_CLOSED)
    except Exception as error:
        # A fault of medfm itself: the user needs one line, the maintainer the traceback.
        if _debug():
            raise
        click.echo(_fault(error, given), err=True)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _debug() -> bool:
    return bool(os.environ.get("MEDFM_DEBUG"))


def _verb(arguments: list[str]) -> str:
    return next((word for word in arguments if word in _VERBS), "")


def _fault(error: Exception, arguments: list[str]) -> str:
    """One line on what happened, one on where in medfm, one on what to do."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if f"{os.sep}medfm{os.sep}" in frame.filename:
            place = f"medfm{frame.filename.rpartition(f'{os.sep}medfm')[2]}, line {frame.lineno}"
    text = str(error).strip().split("\n", 1)[0][:200]
    lines = [f"Error: medfm met something it was not made for: {type(error).__name__}{': ' + text if text else ''}"]
    lines += [f"  where:    {place}"] if place else []
    command = f"medfm --debug {_verb(arguments) or 'VERB'} ..."
    lines.append(f"  to do:    this is a fault of medfm {__version__}; report it with the output of {command}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
