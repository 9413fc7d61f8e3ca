"""`varve events`: the log itself, for audits."""

import typer

app = typer.Typer(no_args_is_help=True, help="The log.")
