"""Tell what callers will hear for a policy's texts; render what is missing: `python -m media.prompts --dir DIR`."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from hub.errors import ChartlineError
from hub.settings import Paths, load
from media.prompts import Prompts


def main() -> int:
    """Render, and print one line a text, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m media.prompts", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--dir", type=Path, required=True, help="instance directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("file", type=Path, nargs="?", help="a practice.toml, if not the one in the directory")
    given = parser.parse_args()
    paths = Paths(given.dir)
    file: Path = given.file or paths.practice_toml
    try:
        choices = Prompts.load(paths.root).prepare(load(file.read_text(), file=file.name))
    except (ChartlineError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if given.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(choice) for choice in choices]) + "\n")
    for choice in () if given.json else choices:
        sys.stdout.write(f"{choice.where} ({choice.language}): {choice.source}, {choice.detail}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
