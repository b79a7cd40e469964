"""Write the next script of a file from the difference between its scripts and the code's tables.

python -m hub.record.migrations chartline "Add the queue's language"
"""

import argparse
import secrets
import tempfile
from pathlib import Path

from alembic import command

from hub.db import KEY_BYTES, Database
from hub.record import schema, scripts


def main() -> None:
    """Write one script."""
    parser = argparse.ArgumentParser(description="Write the next migration script of a file.")
    parser.add_argument("file", choices=[file.value for file in schema.File])
    parser.add_argument("message", help="what changes, as a sentence without its full stop")
    asked = parser.parse_args()
    file = schema.File(asked.file)
    number = len(list((scripts.SCRIPTS / file).glob("[0-9]*.py"))) + 1
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Path(directory) / f"{file}.db", secrets.token_bytes(KEY_BYTES))
        try:
            schema.create(database)
            with database.write() as session:
                config = scripts.config_of(file)
                config.attributes["connection"] = session.connection()
                place = str(scripts.SCRIPTS / file)
                command.revision(config, asked.message, autogenerate=True, rev_id=f"{number:04}", version_path=place)
        finally:
            database.close()


if __name__ == "__main__":
    main()
