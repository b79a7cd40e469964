"""What browsers load: the files of dist/, each named by its content and so kept for as long as they like."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from hub.errors import NotFoundError, UnavailableError

DIST = Path(__file__).with_name("dist")
PREFIX: Final = "/assets/"

FOREVER: Final = "public, max-age=31536000, immutable"
"A file of another content has another name (RFC 8246)."

TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}

router = APIRouter(prefix="/assets", include_in_schema=False)


class AssetsMissingError(UnavailableError):
    """The web assets were not built: run `make web`."""

    code = "assets-missing"


@lru_cache(maxsize=1)
def _manifest(made: float) -> dict[str, str]:  # noqa: ARG001 - the key: built anew, read anew
    said: dict[str, str] = json.loads((DIST / "manifest.json").read_text())
    return said


def url_of(name: str) -> str:
    """Return the path of a file by the name that it has in static/.

    Raises:
        AssetsMissingError: nothing was built, or not this.
    """
    try:
        return PREFIX + _manifest((DIST / "manifest.json").stat().st_mtime)[name]
    except (OSError, KeyError, ValueError):
        raise AssetsMissingError("the web assets are not built: run `make web`") from None


def built(name: str) -> bool:
    """Return whether there is such a file."""
    try:
        return bool(url_of(name))
    except AssetsMissingError:
        return False


@router.get("/{name}")
async def asset(name: Annotated[str, InPath(pattern=r"^[A-Za-z0-9_-]+\.[a-z0-9]+$", max_length=120)]) -> FileResponse:
    """Return one file."""
    path = DIST / name
    kind = TYPES.get(path.suffix)
    if kind is None or not path.is_file():
        raise NotFoundError("there is no such asset")
    kept = FOREVER if "-" in name else "no-cache"
    return FileResponse(
        path, media_type=kind, headers={"Cache-Control": kept, "Cross-Origin-Resource-Policy": "same-origin"}
    )
