"""The ``medfm`` command: verbs are imported only when they are used, so that help is quick."""

from __future__ import annotations

import importlib
import os
import sys

import click

from medfm import __version__

# verb -> (module, attribute, one line for the overview), in the order people need them.
_VERBS = {
    "demo": ("medfm.cli.demo", "Run everything once, offline, on a synthetic cohort."),
    "doctor": ("medfm.cli.doctor", "Check this machine and say which weights are present."),
    "encoders": ("medfm.cli.encoders", "List the encoders, or show one model card."),
    "data": ("medfm.cli.data", "List, prepare, check or synthesize cohorts."),
    "embed": ("medfm.cli.embed", "Turn a cohort into embeddings (cached, resumable)."),
    "probe": ("medfm.cli.probe", "Evaluate an encoder on labels: linear probe, kNN, MIL."),
    "pretrain": ("medfm.cli.pretrain", "Train an encoder without labels."),
    "reproduce": ("medfm.cli.reproduce", "Run the published results of a model card."),
    "compare": ("medfm.cli.compare", "Compare two results record by record."),
    "report": ("medfm.cli.report", "Rebuild the report of a result folder."),
    "cache": ("medfm.cli.cache", "Look at, verify or clean the embedding store."),
}


class LazyGroup(click.Group):
    """A group whose sub-commands are imported on use."""

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


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run and turn every expected error into one clear message and exit code 2."""
    from medfm.core.errors import MedfmError

    try:
        code = cli.main(args=arguments, standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("Stopped; what was finished is kept, and the same command goes on from there.", err=True)
        sys.exit(130)
    except MedfmError as error:
        if os.environ.get("MEDFM_DEBUG"):
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
