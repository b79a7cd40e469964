"""The door for people: signing in and out. It works without scripts."""

from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import SecretStr

from hub.api import login
from hub.api.caller import SESSION_COOKIE, InstanceDep, SessionDep, opened, ours
from hub.api.login import Credentials, PasswordChange, PasswordChangeError, PasswordWeakError, TooManyTriesError
from hub.errors import DeniedError
from hub.instance import Instance
from hub.record import agent
from hub.record.agent import Presence
from hub.record.token import TokenError
from hub.security.access import Scope
from hub.security.login import LoginError
from hub.web.assets import AssetsMissingError
from hub.web.page import rendered

router = APIRouter(include_in_schema=False)

DESK: Final = "/desk"

ENDED: Final = {
    "idle": "You were signed out: nothing was done here for ten minutes.",
    "over": "Your session is over. Sign in again.",
    "out": "You are signed out.",
}

UNBUILT: Final = (
    "Chartline's web assets are not built on this machine. Run `make web` where it is installed, then load this page "
    "again. Calls, texts and the API are not affected.\n"
)


class ForeignFormError(DeniedError):
    """The form was not sent by a page of this hub."""

    code = "foreign-form"


Form = dict[str, str]


async def form_of(request: Request, instance: InstanceDep) -> Form:
    """Return what a form of ours says.

    Raises:
        ForeignFormError: another site's page sent it.
    """
    if not ours(request.headers, instance.policy()[1].http.base_url):
        raise ForeignFormError("this form is not of a page of this hub")
    said = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in said.items()}


FormDep = Annotated[Form, Depends(form_of)]


@router.get("/")
async def root() -> RedirectResponse:
    """Send the browser to the desk, which asks who it is."""
    return RedirectResponse(DESK, 303)


@router.get("/login")
async def ask(request: Request, instance: InstanceDep, ended: str = "") -> Response:
    """Ask who it is."""
    return _form(request, instance, note=ENDED.get(ended, ""))


@router.post("/login")
async def enter(request: Request, instance: InstanceDep, session: SessionDep, form: FormDep) -> Response:
    """Let somebody in, or say why not."""
    email, password = form.get("email", "")[:254], form.get("password", "")[:200]
    desk = RedirectResponse(DESK, 303)
    try:
        if "new_password" in form:
            change = PasswordChange(
                email=email, password=SecretStr(password), new_password=SecretStr(form["new_password"][:200])
            )
            if form["new_password"] != form.get("again", ""):
                return _form(request, instance, email=email, change=True, wrong="The two new passwords differ.")
            await login.set_password(change, request, desk, instance, session)
        else:
            await login.log_in(Credentials(email=email, password=SecretStr(password)), request, desk, instance, session)
    except PasswordChangeError:
        told = "This password was given out by somebody else. Choose one of your own."
        return _form(request, instance, email=email, change=True, note=told)
    except PasswordWeakError:
        told = f"A password has {login.SHORTEST} letters or more, and is not the one before."
        return _form(request, instance, email=email, change=True, wrong=told)
    except LoginError:
        return _form(request, instance, 401, email=email, wrong="E-mail address and password do not belong together.")
    except TooManyTriesError as error:
        wait = max(round(error.retry_after / 60), 1)
        return _form(request, instance, 429, email=email, wrong=f"Too many tries. Wait {wait} min, then try again.")
    return desk


@router.post("/logout")
async def leave(request: Request, instance: InstanceDep, session: SessionDep, form: FormDep) -> Response:  # noqa: ARG001 - the form proves whose page it was
    """End the session; the phone rings no more for who has left."""
    gone = RedirectResponse("/login?ended=out", 303)
    try:
        shown = await opened(instance, request.cookies.get(SESSION_COOKIE), cookie=True, used=False)
    except TokenError:
        return gone
    row, actor = shown
    who, now = row.staff_id, instance.clock()
    if who is not None and actor.may(Scope.PRESENCE_WRITE):
        await instance.db.run(lambda db: agent.presence(db, who, Presence.OFFLINE, now), write=True)
    ended = await login.log_out(shown, instance, session)
    gone.headers["set-cookie"] = ended.headers["set-cookie"]
    return gone


def unbuilt(_request: Request, _error: Exception) -> Response:
    """Say that there is nothing to show pages with."""
    return Response(UNBUILT, AssetsMissingError.status, media_type="text/plain")


def _form(
    request: Request,
    instance: Instance,
    status: int = 200,
    *,
    email: str = "",
    change: bool = False,
    note: str = "",
    wrong: str = "",
) -> HTMLResponse:
    _, practice = instance.policy()
    told = {"practice": practice.practice.name, "email": email, "change": change, "note": note, "wrong": wrong}
    return rendered(request, "login.html", status, **told, shortest=login.SHORTEST)
