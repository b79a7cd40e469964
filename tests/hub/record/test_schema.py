"""The tables that the scripts make are the tables that the code knows; also from a wheel, also a second time."""

import os
import secrets
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from hub.db import KEY_BYTES, Database
from hub.record import schema
from hub.record.schema import File
from hub.record.scripts import config_of

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=list(File))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / f"{request.param}.db", secrets.token_bytes(KEY_BYTES))
    yield database
    database.close()


def differences(database: Database) -> list[object]:
    with database.read() as db:
        context = MigrationContext.configure(db.connection(), opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata_of(schema.file_of(database))))


def test_scripts_make_what_the_code_knows(database: Database) -> None:
    schema.create(database)
    assert differences(database) == [], "run: python -m hub.record.migrations <file> '<what changes>'"


def test_upgrading_again_changes_nothing(database: Database) -> None:
    schema.create(database)
    before = database.version()
    schema.upgrade(database)
    assert differences(database) == []
    assert database.version() == before


def test_every_script_can_be_the_last_one_that_was_run(database: Database) -> None:
    database.path.touch()
    config = config_of(schema.file_of(database))
    scripts = ScriptDirectory.from_config(config)
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    assert revisions == [f"{number:04}" for number in range(1, len(revisions) + 1)]
    for revision in revisions:
        with database.write() as db:
            config.attributes["connection"] = db.connection()
            command.upgrade(config, revision)
    schema.upgrade(database)
    assert differences(database) == []


def test_only_the_owner_reads_the_file_and_only_with_the_key(database: Database) -> None:
    database.path.touch(mode=0o644)
    schema.create(database)
    assert database.path.stat().st_mode & 0o777 == 0o600
    assert not database.path.read_bytes().startswith(b"SQLite format 3")


def test_a_file_is_known_by_its_name(tmp_path: Path) -> None:
    other = Database(tmp_path / "other.db", secrets.token_bytes(KEY_BYTES))
    with pytest.raises(ValueError, match="other"):
        schema.create(other)
    other.close()


def test_rows_can_be_used_after_the_read_that_brought_them(tmp_path: Path) -> None:
    from hub.record import policy
    from tests.hub.record.say import START

    database = Database(tmp_path / "chartline.db", secrets.token_bytes(KEY_BYTES))
    schema.create(database)
    with database.write() as db:
        policy.publish(db, "a = 1", None, by="cli", now=START)
    with database.read() as db:
        (row,) = policy.history(db)
    assert (row.version, row.text, row.published_at) == (1, "a = 1", START)
    database.close()


def test_it_works_from_a_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    program = (
        "import hub.record.schema as s, pathlib, hub.db\n"
        "assert pathlib.Path(s.__file__).is_relative_to(pathlib.Path.cwd() / 'installed'), s.__file__\n"
        "files = [hub.db.Database(pathlib.Path(f'{f}.db'), bytes(32)) for f in s.File]\n"
        "s.create(*files)\n"
        "[f.close() for f in files]\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "chartline.db").stat().st_size > 100_000
