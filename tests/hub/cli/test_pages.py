"""The pages about the command line are held against it: every verb and option, every file, and the first steps run."""

import base64
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import typer

from hub.cli.app import app, run_command
from hub.cli.run import Part
from hub.settings import Paths
from hub.vault.home import Home
from tests.hub.vault.house import running

DOCS = Path(__file__).resolve().parents[3] / "docs"
CLI = (DOCS / "reference" / "cli.md").read_text()
INSTANCE = (DOCS / "reference" / "instance.md").read_text()
FIRST = (DOCS / "start" / "first-practice.md").read_text()


def verbs(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every verb with its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_verb_has_its_heading_and_every_option_stands_under_it() -> None:
    sections = dict(part.split("\n", 1) for part in CLI.split("\n## ")[1:])
    known = dict(verbs(typer.main.get_command(app)))
    assert sections.keys() == known.keys()
    for name, command in known.items():
        usage = re.search(rf"`chartline {name}[^`]*`", sections[name])
        assert usage, name
        assert command.help, name
        options = {word for each in command.params for word in each.opts if word.startswith("--")} - {"--help"}
        assert set(re.findall(r"--[a-z-]+", usage[0])) == options, name
    for part in Part:
        assert part.value in sections["serve"]


def test_every_file_of_an_instance_is_explained() -> None:
    paths = Paths(Path("/instance"))
    names = {name for name in dir(type(paths)) if isinstance(getattr(type(paths), name), property)}
    for name in names - {"vault_socket"}:
        path: Path = getattr(paths, name)
        assert re.search(rf"\| `{re.escape(path.name)}/?` \|", INSTANCE), path
    assert "`vault.sock`" in INSTANCE


def steps(root: Path) -> Iterator[list[str]]:
    """Yield the commands of the page, one after the other."""
    for block in re.findall(r"```sh\n(.*?)```", FIRST, re.DOTALL):
        for line in block.replace("\\\n", " ").replace("/srv/harbor", str(root)).splitlines():
            yield shlex.split(line)


def test_the_first_steps_lead_to_a_practice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "harbor"
    monkeypatch.setenv("CHARTLINE_DIR", str(root))
    (policy,) = re.findall(r"```toml\n(.*?)```", FIRST, re.DOTALL)
    ran: list[str] = []
    with ExitStack() as living:
        for words in steps(root):
            if words[0] == "openssl":
                Path(words[-1]).write_text(base64.b64encode(b"s" * 32).decode())
            if words[0] != "chartline" or words[1] == "up":
                continue
            capsys.readouterr()
            assert run_command(words[1:]) == 0, (words, capsys.readouterr().err)
            ran.append(words[1])
            if words[1] == "init":
                (root / "practice.toml").write_text(policy)
                living.enter_context(running(Home(root)))  # instead of one for each command
        assert ran == ["init", "apply", "apply", "user", "user", "user", "token", "status", "feed", "audit"]
        capsys.readouterr()
        assert run_command(["apply", "--json"]) == 0
        assert '"published": false' in capsys.readouterr().out
