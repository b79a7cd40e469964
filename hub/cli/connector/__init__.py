"""The connectors of this machine, and the connections through them: one module for each group of verbs."""

import typer

from hub.cli.connector import installed, live, new, policy, proof

connector = typer.Typer(help="Connectors, and the connections through them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    for module in (installed, new, policy, proof, live):
        module.register(connector)
    app.add_typer(connector, name="connector")
