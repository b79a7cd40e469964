"""A machine on which a vendor's package is installed by pip: an environment over this one, without a network."""

import json
import os
import shlex
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual environment that sees Chartline and its dependencies, and what is installed into itself."""

    prefix: Path

    @classmethod
    def make(cls, prefix: Path) -> "Machine":
        """Make one. Its own packages stand before those of this environment, which stay as they are."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
        made = cls(prefix)
        below = [sysconfig.get_path("purelib"), *site.getsitepackages(), str(ROOT)]
        lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(below)]
        (made.packages / "below.pth").write_text("\n".join([*lines, str(ROOT)]) + "\n")
        for name, module in (("chartline", "hub.cli"), ("pip", "pip")):
            program = prefix / "bin" / name
            program.write_text(f'#!/bin/sh\nexec {shlex.quote(str(made.python))} -m {module} "$@"\n')
            program.chmod(0o755)
        return made

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.prefix / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where pip puts packages."""
        (found,) = (self.prefix / "lib").glob("python*/site-packages")
        return found

    def environment(self) -> dict[str, str]:
        """Return what a shell on it has in its environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "COV"))}
        path = os.pathsep.join([str(self.prefix / "bin"), os.environ.get("PATH", "")])
        quiet = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}
        return kept | quiet | {"PATH": path, "VIRTUAL_ENV": str(self.prefix)}

    def done(self, *words: str | Path, cwd: Path | None = None) -> str:
        """Run a command that must succeed, and return what it prints."""
        ran = subprocess.run(
            words, cwd=cwd, env=self.environment(), capture_output=True, text=True, check=False, timeout=60
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def said(self, *words: str | Path, cwd: Path | None = None) -> Any:
        """Run a verb of `chartline` that must succeed, and return what it says in JSON."""
        return json.loads(self.done(*words, "--json", cwd=cwd))

    def install(self, source: Path) -> None:
        """Install a package from a directory, on a machine that has everything else that it needs."""
        self.done("pip", "install", "-q", "--no-build-isolation", "--no-deps", source)
