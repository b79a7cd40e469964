"""Alembic, which changes the tables of an instance's files by the scripts of the installed package."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from hub.record.schema import File, metadata_of

SCRIPTS = Path(__file__).with_name("migrations")


def run(file: File, connection: Connection) -> None:
    """Run what is left of a file's scripts in the transaction of a connection to it."""
    config = config_of(file)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def config_of(file: File) -> Config:
    """Return Alembic's configuration for a file; the connection is added by whoever has one."""
    config = Config()
    config.set_main_option("path_separator", "newline")
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("version_locations", str(SCRIPTS / file).replace("%", "%%"))
    config.attributes["metadata"] = metadata_of(file)
    return config
