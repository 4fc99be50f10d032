"""The command line.

What a command needs is imported when it runs, so that ``resroute --version`` and ``--help`` answer at once.
"""

import sys
import traceback

import click
from click.exceptions import NoArgsIsHelpError

from resroute.cli.commands.audit import audit
from resroute.cli.commands.call import call
from resroute.cli.commands.calls import calls
from resroute.cli.commands.completion import completion
from resroute.cli.commands.config import config
from resroute.cli.commands.drain import drain
from resroute.cli.commands.explain import explain
from resroute.cli.commands.hold import hold
from resroute.cli.commands.kick import kick
from resroute.cli.commands.ls import ls
from resroute.cli.commands.rebalance import rebalance
from resroute.cli.commands.release import release
from resroute.cli.commands.serve import serve
from resroute.cli.commands.settings import settings
from resroute.cli.commands.show import show
from resroute.cli.commands.stats import stats
from resroute.cli.commands.top import top
from resroute.cli.commands.transfer import transfer
from resroute.cli.commands.update import update
from resroute.cli.commands.watch import watch
from resroute.cli.exits import FAULT, INTERRUPTED
from resroute.cli.output import OutputLost, complain, settle_streams


def main() -> None:
    """Run the command line of this process, and exit."""
    try:
        code = cli.main(prog_name="resroute", standalone_mode=False)
    except NoArgsIsHelpError as mistake:
        mistake.show()
        code = mistake.exit_code
    except click.UsageError as mistake:
        path = mistake.ctx.command_path if mistake.ctx else "resroute"
        told = " ".join(mistake.format_message().split())  # some of click's own go over several lines
        complain(f"{told}{'' if told.endswith(('.', '?')) else '.'} Try '{path} --help'.")
        code = mistake.exit_code
    except click.ClickException as mistake:
        complain(mistake.format_message())
        code = mistake.exit_code
    except OutputLost as lost:
        code = lost.settle()
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except Exception:  # else Python would exit with 1, which scripts take for something else
        traceback.print_exc()
        code = FAULT
    settle_streams()
    sys.exit(code)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        try:
            version = importlib.metadata.version("resroute")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed)"
        click.echo(f"resroute {version}")
        ctx.exit()


@click.group()
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """A router for calls to resources, over WebSocket and JSON-RPC.

    \b
    To see it work, in three terminals:
      resroute serve
      resroute hold doc:1 --service documents
      resroute call greet --resource doc:1 --params '{"name": "Ada"}'
    """


for _command in (
    serve,
    call,
    hold,
    ls,
    show,
    watch,
    explain,
    stats,
    top,
    calls,
    update,
    transfer,
    release,
    drain,
    rebalance,
    kick,
    audit,
    settings,
    config,
    completion,
):
    cli.add_command(_command)
