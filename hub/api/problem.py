"""Errors as RFC 9457 problem answers: one place that knows how each error of the tree looks over HTTP."""

from collections import defaultdict
from http import HTTPStatus
from typing import Any, Protocol
from uuid import uuid4

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from connectors.api import ConnectorError
from hub.errors import ChartlineError, UsageError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

_HTTP = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
"What FastAPI and Starlette answer by themselves, as codes."


class TooLargeError(UsageError):
    """The request's body is longer than anybody needs."""

    code = "too-large"
    status = 413


class InvalidError(UsageError):
    """The request does not have the documented shape; `fields` says where."""


class FieldFault(BaseModel):
    """One thing wrong with a request; what stood there is not repeated."""

    field: str
    fault: str
    "A code, such as `missing` or `date_parsing`."


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": True})

    type: str = "about:blank"
    title: str
    "The status in words (section 4.2.1)."

    status: int
    code: str
    "Stable; docs/reference/errors.md has every one."

    detail: str | None = None
    "For a person; ids and codes, nothing that a record says."

    retry: bool
    "Whether the same request may succeed later."

    fields: list[FieldFault] | None = None
    "Where `code` is `invalid`."


class Known(Protocol):
    """What every error class says of itself."""

    code: str
    status: int
    __doc__: str | None


def problem(
    status: int,
    code: str,
    detail: str | None = None,
    *,
    retry: bool = False,
    fields: list[FieldFault] | None = None,
    retry_after_s: float | None = None,
) -> JSONResponse:
    """Return a problem answer; `detail` is for people and holds nothing that a record says."""
    said = Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail, retry=retry, fields=fields)
    headers = {}
    if retry:
        headers["Retry-After"] = str(round(retry_after_s or RETRY_AFTER_S))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 section 11.6.1
    return JSONResponse(said.model_dump(exclude_none=True), status, headers, MEDIA_TYPE)


def declared(*kinds: type[ChartlineError] | type[ConnectorError]) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of a route that may answer with these errors; for `responses`."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for kind in kinds:
        line = f"`{kind.code}`: {(kind.__doc__ or '').splitlines()[0]}"
        if line not in by_status[kind.status]:
            by_status[kind.status].append(line)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": "\n\n".join(lines), "content": content} for status, lines in by_status.items()}


def defect(error: BaseException) -> JSONResponse:
    """Log a fault of ours by a number, its kind and its place, and return the answer that names the number."""
    incident, frame = str(uuid4()), error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    at = "" if frame is None else f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}"
    log.error("defect", incident=incident, kind=type(error).__name__, at=at)
    return problem(500, "defect", f"a fault of ours; incident {incident}")


def install(app: FastAPI) -> None:
    """Make `app` answer every error as a problem, and say so in its OpenAPI."""
    app.add_exception_handler(ChartlineError, _ours)
    app.add_exception_handler(ConnectorError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _shape)
    setattr(app, "openapi", lambda: _openapi(app))  # noqa: B010 - FastAPI's documented way, which mypy refuses


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ChartlineError | ConnectorError)  # noqa: S101 - registered for these two alone
    after: float | None = getattr(error, "retry_after", None)
    return problem(error.status, error.code, str(error), retry=error.retry, retry_after_s=after)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this one alone
    answer = problem(error.status_code, _HTTP.get(error.status_code, "http-error"))
    answer.headers.update(error.headers or {})  # such as Allow with 405
    return answer


async def _shape(_request: Request, error: Exception) -> JSONResponse:
    """Name the fields that are wrong, not what was in them."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this one alone
    fields = [
        FieldFault(field=".".join(str(part) for part in fault["loc"]), fault=fault["type"]) for fault in error.errors()
    ]
    return problem(422, InvalidError.code, "the request does not have the documented shape", fields=fields)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return FastAPI's document with our errors in the place of its own."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        parts = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = schema["components"]["schemas"]
        for foreign in ("HTTPValidationError", "ValidationError"):
            schemas.pop(foreign, None)
        schemas |= parts.pop("$defs")
        schemas["Problem"] = parts
        for operations in schema["paths"].values():
            for operation in operations.values():
                _tell_shape(operation)
        app.openapi_schema = schema
    return app.openapi_schema


def _tell_shape(operation: dict[str, Any]) -> None:
    """Say what is answered to a request that cannot be read; FastAPI knows only its own form of it."""
    answers = operation["responses"]
    wrong = [InvalidError] if operation.get("parameters") or "requestBody" in operation else []
    for status, answer in declared(*wrong, *([TooLargeError] if "requestBody" in operation else [])).items():
        kept = answers.get(str(status), {})
        if MEDIA_TYPE in kept.get("content", {}):
            answer["description"] += f"\n\n{kept['description']}"
        answers[str(status)] = answer
    operation["responses"] = dict(sorted(answers.items()))
