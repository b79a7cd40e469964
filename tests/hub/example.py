"""The full example of docs/reference/practice-toml.md, which several tests read, and an instance directory for it."""

from pathlib import Path

from hub.settings import Practice, load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "practice-toml.md"
EXAMPLE = PAGE.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
ENVIRONMENT = {"POP_SECRET": "whsec_of_nobody"}
INSTALLED = ("fhir", "hl7v2", "sandbox-sms")
FILES = ("keys/sip.pem", "keys/sip.key", "keys/ehr.pem", "agreements/carrier.pdf")


def completed(root: Path) -> Path:
    """Put the files that the example names under `root` and return it."""
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("of nobody\n")
    return root


def practice(*changes: tuple[str, str]) -> Practice:
    """Return the example as values, with each `(old, new)` text changed first."""
    text = EXAMPLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return load(text)
