"""The HTTP door: JSON under /v1, carriers' callbacks, and what runs beside them for as long as it serves."""

from fastapi import APIRouter, FastAPI, Request
from temporalio.client import Client

from hub.api import carriers, lists, pops, problem
from hub.chart import Charts
from hub.instance import Instance
from hub.outside import Outside


def create(instance: Instance, outside: Outside, temporal: Client) -> FastAPI:
    """Return the application; it opens nothing and closes nothing."""
    app = FastAPI(
        title="Chartline",
        version="1",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.instance = instance
    app.state.outside = outside
    app.state.charts = Charts(outside)
    app.state.temporal = temporal
    problem.install(app)
    v1 = APIRouter(prefix="/v1")
    v1.include_router(pops.router)
    v1.include_router(lists.router)
    v1.add_api_route("/health", health, methods=["GET"], tags=["health"])
    app.include_router(v1)
    app.include_router(carriers.router)
    return app


async def health(request: Request) -> dict[str, object]:
    """Say whether the parts answer; needs no login and tells nothing else."""
    instance: Instance = request.app.state.instance
    return {"status": "ok", "vault": await _vault(instance)}


async def _vault(instance: Instance) -> str:
    from hub.vault.client import VaultUnavailableError

    try:
        found = await instance.db.run(lambda _: instance.vault.health())
    except VaultUnavailableError as error:
        return error.code
    return str(found.get("audit", "ok"))
