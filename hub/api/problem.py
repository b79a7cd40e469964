"""Errors as RFC 9457 problem answers: one place that knows how each error of the tree looks over HTTP."""

from typing import Any
from uuid import uuid4

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from connectors.api import ConnectorError
from hub.errors import ChartlineError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


def problem(status: int, code: str, detail: str = "", *, retry: bool = False, **more: Any) -> JSONResponse:
    """Return a problem answer; `detail` is for people and holds nothing that a record says."""
    body = {"type": "about:blank", "status": status, "code": code, "retry": retry, **more}
    if detail:
        body["detail"] = detail
    headers = {"Cache-Control": "no-store"}
    if retry:
        headers["Retry-After"] = "1"
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ChartlineError | ConnectorError)  # noqa: S101 - registered for these two alone
    return problem(error.status, error.code, str(error), retry=error.retry)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this one alone
    code = {404: "not-found", 405: "method-not-allowed", 401: "unauthenticated"}.get(error.status_code, "http-error")
    return problem(error.status_code, code)


async def _shape(_request: Request, error: Exception) -> JSONResponse:
    """Name the fields that are wrong, not what was in them."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this one alone
    fields = [{"field": ".".join(str(part) for part in e["loc"]), "fault": e["type"]} for e in error.errors()]
    return problem(422, "invalid", "the request does not have the documented shape", fields=fields)


async def _defect(_request: Request, error: Exception) -> JSONResponse:
    incident = str(uuid4())
    log.error("defect", incident=incident, kind=type(error).__name__)
    return problem(500, "defect", f"a fault of ours; incident {incident}")


def install(app: FastAPI) -> None:
    """Make `app` answer every error as a problem."""
    app.add_exception_handler(ChartlineError, _ours)
    app.add_exception_handler(ConnectorError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _shape)
    app.add_exception_handler(Exception, _defect)
