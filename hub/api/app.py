"""The HTTP door: JSON under /v1, carriers' callbacks, and what runs beside them for as long as it serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from fastapi import APIRouter, FastAPI, Request
from sqlalchemy import text

from hub.api import (
    agents,
    appointments,
    calls,
    carriers,
    connections,
    launch,
    live,
    login,
    messages,
    patients,
    phone,
    policies,
    pops,
    problem,
    queues,
    tasks,
    voicemails,
    webhooks,
)
from hub.api.caller import InstanceDep
from hub.api.flows import OK, Flows
from hub.api.guard import Guard
from hub.api.once import KEPT
from hub.api.page import Answer
from hub.chart import Charts
from hub.feeds.waker import Waker
from hub.finder import Finder
from hub.instance import Instance
from hub.outside import Outside
from hub.record import idempotency
from hub.vault.client import VaultUnavailableError
from hub.web import assets, desk, pages
from hub.web.arrival import Arrival

FORGET_S = 3600.0
"Between two looks for idempotency keys that are too old."

ROUTERS = (
    *(
        login.router,
        patients.router,
        appointments.router,
        calls.router,
        pops.router,
        tasks.router,
        queues.router,
        agents.router,
        phone.api,
    ),
    *(voicemails.router, messages.router, connections.router, webhooks.router, policies.router),
)


class Health(Answer):
    """Whether the parts answer."""

    status: Literal["ok", "degraded"]
    vault: str
    "ok, full (the audit log has no room), or the code of an error."

    temporal: str
    "ok, or the code of an error."


def create(instance: Instance, outside: Outside, flows: Flows) -> FastAPI:
    """Return the application; it closes nothing that it is given."""
    app = FastAPI(
        title="Chartline",
        summary="The phone line that reads the chart.",
        version="1",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_beside,
        generate_unique_id_function=lambda route: "-".join([*map(str, route.tags[:1]), route.name]),
    )
    app.state.instance = instance
    app.state.outside = outside
    app.state.charts = Charts(instance, outside)
    app.state.flows = flows
    app.state.waker = Waker(flows.wake)
    app.state.finder = Finder(instance, outside, app.state.waker.note)
    app.state.door = login.Door()
    app.state.launches = launch.Pending()
    app.state.live = live.Live(instance)
    app.add_middleware(Arrival)
    app.add_middleware(Guard)
    problem.install(app)
    app.add_exception_handler(assets.AssetsMissingError, pages.unbuilt)
    v1 = APIRouter(prefix="/v1")
    for router in ROUTERS:
        v1.include_router(router)
    v1.add_api_route("/health", health, summary="Health", tags=["health"])
    app.include_router(v1)
    app.include_router(carriers.router)
    app.include_router(launch.router)
    for router in (live.router, assets.router, pages.router, desk.router):
        app.include_router(router)
    app.include_router(phone.router)
    return app


async def health(request: Request, instance: InstanceDep) -> Health:
    """Say whether the parts answer; needs no login and tells nothing else."""
    flows: Flows = request.app.state.flows
    vault, temporal, _ = await asyncio.gather(
        asyncio.to_thread(_vault, instance),
        flows.health(),
        instance.db.run(lambda db: db.connection().execute(text("SELECT 1"))),
    )
    return Health(status="ok" if vault == temporal == OK else "degraded", vault=vault, temporal=temporal)


def _vault(instance: Instance) -> str:
    try:
        return str(instance.vault.health()["audit"])
    except VaultUnavailableError as error:
        return error.code


@asynccontextmanager
async def _beside(app: FastAPI) -> AsyncIterator[None]:
    """Run what goes on between requests."""
    beside = [asyncio.create_task(app.state.waker.run()), asyncio.create_task(_forget(app.state.instance))]
    beside.append(asyncio.create_task(app.state.live.run()))
    try:
        yield
    finally:
        await app.state.finder.close()
        for task in beside:
            task.cancel()
        for task in beside:
            with suppress(asyncio.CancelledError):
                await task


async def _forget(instance: Instance) -> None:
    while True:
        await instance.db.run(lambda db: idempotency.forget(db, instance.clock() - KEPT), write=True)
        await asyncio.sleep(FORGET_S)
