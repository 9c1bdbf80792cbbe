"""The pages as a FastAPI application behind Airflow's login: each user sees the pipelines whose DAGs they may read.

Airflow mounts a plugin's application beside its own API and protects nothing of it, so each route asks Airflow's auth
manager, as Airflow's own routes do. In Airflow 3.0 a browser keeps the token in its local storage and sends it with the
UI's own requests only: there a page that holds nothing but a script comes first, which asks again with the token.
"""

from __future__ import annotations

import functools
import time
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined

from hopsworks_flink._compat import BROWSERS_SEND_TOKENS
from hopsworks_flink.pages import database
from hopsworks_flink.pages.overview import overview
from hopsworks_flink.pages.pipeline import pipeline_page
from hopsworks_flink.pages.place import NAME, PREFIX, base_path

#: Nothing comes from elsewhere, and nothing that a pipeline's texts hold can become a script.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PACKAGE = "hopsworks_flink.pages"
#: As Airflow's own routes find out who asks.
User = Annotated[Any, Depends(get_user)]


@functools.cache
def templates() -> Environment:
    """The templates; what they are given is escaped, and a name that is missing is an error."""
    return Environment(
        loader=PackageLoader(_PACKAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def render(template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """A page."""
    root = base_path()
    text = templates().get_template(template).render(root=root, prefix=f"{root}{PREFIX}", name=NAME, **values)
    return HTMLResponse(text, status_code=status_code, headers=HEADERS)


def refused(request: Request, error: Exception) -> Response:
    """Who is not logged in is sent to the login; what cannot be found, or not by this user, is said."""
    assert isinstance(error, HTTPException)
    if error.status_code not in (401, 403):
        return render("message.html", error.status_code, text=error.detail)
    if BROWSERS_SEND_TOKENS and "authorization" not in request.headers:
        return RedirectResponse(_login(request), status_code=302, headers=HEADERS)
    return render("door.html", 401, login=_login(request))


def _login(request: Request) -> str:
    # Not the address as this server sees it: a proxy may stand before it.
    path = request.url.path if request.url.path.startswith(base_path()) else f"{base_path()}{request.url.path}"
    return f"{base_path()}/api/v2/auth/login?next={quote(path, safe='')}"


@functools.cache
def pages() -> FastAPI:
    """The application."""
    app = FastAPI(title=NAME, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, refused)
    app.mount("/static", StaticFiles(directory=str(files(_PACKAGE) / "static")), name="static")
    # Without "async": the database is asked, so on a thread of the pool.
    app.add_api_route("/", _overview, response_class=HTMLResponse)
    app.add_api_route("/pipeline/{dag_id}", _pipeline, response_class=HTMLResponse)
    return app


def _overview(user: User) -> HTMLResponse:
    readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    return render("overview.html", page=overview(database.known_pipelines(readable), time.time()))


def _pipeline(dag_id: str, user: User) -> HTMLResponse:
    readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    known = database.known_pipelines(readable, dag_id)
    if not known:
        raise HTTPException(404, f"There is no DAG {dag_id} that supervises a pipeline, or you may not read it.")

    def allowed(entity: DagAccessEntity) -> bool:
        details = DagDetails(id=dag_id)
        return get_auth_manager().is_authorized_dag(method="GET", access_entity=entity, details=details, user=user)

    page = pipeline_page(
        known[0],
        database.history(known[0]),
        time.time(),
        with_code=allowed(DagAccessEntity.CODE),
        with_rows=allowed(DagAccessEntity.XCOM),
    )
    return render("pipeline.html", page=page)
