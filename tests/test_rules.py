"""Rules of the house that run: import directions, sizes, PHI in logs, nothing of this machine in a file."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("connectors", "hub", "workflows", "media")
MODULE_LINES = 400
FUNCTION_LINES = 50

PERSONAL = re.compile(r"(?i)\b(name|family|given|birth|dob|phone|number|caller|sender|body|text|raw|address|digits)\b")
"Words that, as a variable inside a log call or an exception's f-string, would show what a record says."

THINGS = {"program", "connection", "connector"}
"What a log line may say by its name: things of the policy, nobody's data."

NOT_OURS = {"util", "utils", "common", "core", "helper", "helpers", "manager", "handler", "service", "processor"}
"Names that say nothing (docs/reference/words.md); `core` alone is kept for a CPU core."


def modules(*roots: str) -> Iterator[Path]:
    for root in roots:
        yield from sorted((ROOT / root).rglob("*.py"))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def test_imports_run_one_way() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_module_is_longer_than_a_person_reads() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules(*PACKAGES)
        if (lines := len(path.read_text().splitlines())) > MODULE_LINES
    }
    assert long == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} {length}"
        for path in modules(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert long == []


def test_module_names_say_something() -> None:
    assert [str(path.relative_to(ROOT)) for path in modules(*PACKAGES) if path.stem in NOT_OURS] == []


def _log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical"}
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in {"log", "logger", "logging"}
        ):
            yield node


def _names_in(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def test_log_calls_name_nothing_personal() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno} {name}"
        for path in modules(*PACKAGES)
        for call in _log_calls(ast.parse(path.read_text()))
        for value in [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg not in THINGS)]
        for name in _names_in(value)
        if PERSONAL.search(name.strip("_").replace("_", " ")) and name != "__name__"
    ]
    assert found == []


def test_exception_texts_name_nothing_personal() -> None:
    found = []
    for path in modules(*PACKAGES):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            for text in ast.walk(node.exc):
                if isinstance(text, ast.FormattedValue):
                    names = [
                        name
                        for name in _names_in(text.value)
                        if name in {"family", "given", "birth_date", "e164", "phone", "body"}
                    ]
                    found += [f"{path.relative_to(ROOT)}:{node.lineno} {name}" for name in names]
    assert found == []


def test_public_names_match_what_the_connector_interface_exports() -> None:
    import connectors.api as api

    assert sorted(api.__all__) == sorted(set(api.__all__))
    assert [name for name in api.__all__ if not hasattr(api, name)] == []


def test_nothing_waits_in_a_way_that_forgets_a_cancellation() -> None:
    """Before Python 3.12 `wait_for` answers, where what it waits for and a cancellation come at once, and goes on."""
    waits = "asyncio.wait" + "_for("
    assert [str(path.relative_to(ROOT)) for path in modules(*PACKAGES, "tests") if waits in path.read_text()] == []


@pytest.mark.parametrize("words", ["unittest" + ".mock", "Magic" + "Mock", "mocker" + ".patch"])
def test_nothing_of_ours_is_mocked(words: str) -> None:
    assert [str(path.relative_to(ROOT)) for path in modules(*PACKAGES, "tests") if words in path.read_text()] == []


def test_lock_files_carry_hashes_and_no_addresses() -> None:
    locks = [path for path in tracked() if path.name in {"lock.txt", "package-lock.json"}]
    assert locks
    for path in locks:
        text = path.read_text()
        assert not re.search(r"https?://|file:", text), path
    assert "--hash=sha256:" in (ROOT / "requirements" / "lock.txt").read_text()


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    path_of_machine = re.compile(r"(^|[^A-Za-z0-9_.])/(work|root|home)/[A-Za-z]")
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}: {line[:80]}" for line in text.splitlines() if path_of_machine.search(line)
        ]
    assert found == []
