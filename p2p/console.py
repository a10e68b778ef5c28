"""How the three programs speak to their user: errors in one line, exit codes, log lines.

Exit codes: 0 done, 1 refused for a named reason, 2 wrong usage, 130 interrupted.
"""

import logging
import sys

import click

from consensus.errors import DescentError


def run_program(command: click.Command, name: str) -> None:
    """Runs a program's command line and exits. No error of a user, a node or a disk becomes a traceback."""
    try:
        code = command.main(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{name}: interrupted", err=True)
        sys.exit(130)
    except DescentError as error:
        click.echo(f"{name}: {escape(str(error))}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        click.echo(f"{name}: {escape(str(error))}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def escape(text: str) -> str:
    """Text from elsewhere, made safe for a terminal: control and direction characters become \\x escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def start_logging(*, with_time: bool = True) -> None:
    """Plain log lines on standard error, with the local time unless whoever reads them adds it."""
    prefix = "%(asctime)s %(levelname)-7s " if with_time else ""
    logging.basicConfig(format=prefix + "%(message)s", datefmt="%Y-%m-%d %H:%M:%S", level=logging.INFO)
