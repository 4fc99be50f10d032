"""``resroute completion``."""

from typing import Literal, get_args

import click
from click.shell_completion import get_completion_class

from resroute.cli.output import write

_Shell = Literal["bash", "zsh", "fish"]


@click.command(short_help="Have a shell complete commands at the Tab key.")
@click.argument("shell", type=click.Choice(get_args(_Shell)))
@click.pass_context
def completion(ctx: click.Context, shell: _Shell) -> None:
    """Print a script with which a shell completes commands and options at the Tab key.

    \b
    Have it in every new shell:
      bash  echo 'eval "$(resroute completion bash)"' >> ~/.bashrc
      zsh   echo 'eval "$(resroute completion zsh)"' >> ~/.zshrc
      fish  resroute completion fish > ~/.config/fish/completions/resroute.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    write(kind(ctx.find_root().command, {}, "resroute", "_RESROUTE_COMPLETE").source())
