"""Make the package of a new connector: the template of `connectors.kit` under another name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from connectors import api, host
from hub.cli.instance import JsonOption, show
from hub.cli.setup import DirectoryTakenError
from hub.errors import ConflictError

TEMPLATE = Path(host.__file__).parent / "kit" / "template"
SUFFIX = ".in"
"Ends the names of the template's files that tools would take for Chartline's own."

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40


@dataclass(frozen=True, slots=True)
class Names:
    """What a connector is called in the places where it needs a name."""

    name: str

    @property
    def package(self) -> str:
        """The distribution."""
        return f"chartline-{self.name}"

    @property
    def module(self) -> str:
        """The module within it."""
        return self.package.replace("-", "_")

    @property
    def connector(self) -> str:
        """The class."""
        return "".join(part.capitalize() for part in self.name.split("-"))

    def within(self, text: str) -> str:
        """Return a text of the template, or a path, with these names in it."""
        own = {"chartline_acme": self.module, "Acme": self.connector, "acme": self.name}
        return re.sub("|".join(own), lambda found: own[found[0]], text)


def register(app: typer.Typer) -> None:
    """Add the verb to the group."""
    app.command()(new)


def new(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    directory: Annotated[Path | None, typer.Argument(help="Where it is made; chartline-NAME by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the package of a new connector, which passes `connector check` as it stands; then it is yours to change."""
    names = Names(_valid(name))
    root = directory or Path(names.package)
    files = make(names, root)
    text = [
        f"made {root}",
        f"next: cd {root}, then chartline connector check {names.module}:{names.connector}",
    ]
    said = {"directory": str(root.resolve()), "package": names.package, "files": files}
    show(said, as_json=as_json, text="\n".join(text))


def make(names: Names, root: Path) -> list[str]:
    """Write the package into `root`, which is made, and return the names of its files.

    Raises:
        DirectoryTakenError: there is something in it.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DirectoryTakenError(f"{root} is not empty")
    made = []
    for source in _files(TEMPLATE):
        where = names.within(source.relative_to(TEMPLATE).as_posix()).removesuffix(SUFFIX)
        target = root / where
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(names.within(source.read_text(encoding="utf-8")), encoding="utf-8")
        made.append(where)
    return made


def _files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _valid(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        message = f"write lower-case letters, digits and hyphens between them, a letter first, at most {LONGEST}"
        raise typer.BadParameter(message, param_hint="NAME")
    if Names(name).connector in api.__all__:
        raise typer.BadParameter("that is a word of the interface itself", param_hint="NAME")
    if name in host.names():
        raise ConflictError(f"a connector {name} is installed already")
    return name
