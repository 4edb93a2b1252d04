"""The command `completion`: what a shell wants to know to complete commands and options."""

import click
from click.shell_completion import get_completion_class

COMPLETE_VARIABLE = "_BYTEREEL_COMPLETE"
"""Set by the shell's script when it asks."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL", help="bash, zsh or fish.")
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print what makes a shell complete commands and options.

    For bash: eval "$(bytereel completion bash)", in ~/.bashrc.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "the choice above names those that there are"
    print(kind(context.find_root().command, {}, "bytereel", COMPLETE_VARIABLE).source())
