"""docs/start/first-connector.md, done word by word: what it says comes, and in the end stands what `new` makes."""

import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.cli.app import run_command
from hub.cli.connector.new import SUFFIX, TEMPLATE
from tests.hub.cli.test_connector_new import LINES, code_lines
from tests.hub.cli.vendor import ROOT, Machine

PAGE = (ROOT / "docs" / "start" / "first-connector.md").read_text()
STEP = re.compile(
    r"(?:^(?P<how>Write|Append to|Add to the class, in) `(?P<file>[^`]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Reader:
    """Somebody who does what the page says, on a machine of their own; verbs of `chartline` run in this process."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.machine = machine
        self.directory = Path.cwd()
        self.printed = ""
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def follow(self, page: str) -> None:
        for step in STEP.finditer(page):
            if step["how"]:
                self.write(step["how"], self.directory / step["file"], step["text"])
            elif step["kind"] == "sh":
                self.run(step["text"])
            elif step["kind"] == "text":
                self.compare(step["text"])
            else:
                assert step["kind"] == "console", f"nobody knows what to do with {step['text']}"

    def write(self, how: str, file: Path, text: str) -> None:
        if how == "Write":
            assert not file.exists()
            file.write_text(text)
            return
        before = file.read_text()
        if how == "Append to":
            file.write_text(before + ("\n\n" if file.suffix == ".py" else "\n") + text)
            return
        (last,) = [node for node in ast.parse(before).body if isinstance(node, ast.ClassDef)][-1:]
        lines = before.splitlines(keepends=True)
        file.write_text("".join([*lines[: last.end_lineno], "\n", text, *lines[last.end_lineno :]]))

    def run(self, commands: str) -> None:
        self.printed = ""
        for line in commands.splitlines():
            words = shlex.split(line)
            if words[0] == "cd":
                self.directory /= words[1]
                self._monkeypatch.chdir(self.directory)
            elif words[0] == "chartline":
                self.printed += self.verb(words[1:])
            else:
                self.printed += self.machine.done(*words, cwd=self.directory)

    def verb(self, words: list[str]) -> str:
        for module in [module for module in sys.modules if module.split(".")[0] == "chartline_acme"]:
            del sys.modules[module]
        importlib.invalidate_caches()
        self._capsys.readouterr()
        code = run_command(words)
        told = self._capsys.readouterr()
        assert code == 0, told.out + told.err
        return told.out

    def compare(self, table: str) -> None:
        """Find each line of what the page shows as the beginning of one that was printed."""
        printed = [line.split() for line in self.printed.splitlines()]
        for line in table.splitlines():
            words = line.split()
            assert any(row[: len(words)] == words for row in printed), f"{line}\n{self.printed}"


def template() -> Iterator[tuple[str, str]]:
    for path in TEMPLATE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(TEMPLATE).as_posix().removesuffix(SUFFIX), path.read_text()


def test_the_page_leads_to_what_new_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine.make(tmp_path / "env")
    monkeypatch.syspath_prepend(str(machine.packages))
    monkeypatch.chdir(tmp_path)
    reader = Reader(machine, monkeypatch, capsys)
    who_calls, the_rest = re.split(r"(?m)^## 3\. ", PAGE)
    reader.follow(who_calls)
    module = reader.directory / "chartline_acme" / "__init__.py"
    smallest = len(module.read_text().splitlines())
    assert smallest <= LINES
    assert f"{smallest} lines, blank ones and all" in who_calls
    reader.follow(the_rest)
    assert f"{code_lines(module)} lines of code" in the_rest
    assert reader.directory == tmp_path / "chartline-acme"
    wanted = dict(template())
    readme = wanted.pop("README.md")
    assert "chartline connector new acme" in readme
    for name, text in wanted.items():
        assert (reader.directory / name).read_text() == text, name
    suite = (reader.directory / "kit.xml").read_text()
    assert 'failures="0"' in suite
