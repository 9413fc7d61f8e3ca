"""A client of a running Varve for the command line: finds the API and a token, and speaks its HTTP."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from domain.shared.access import Actor, Role
from varve.bootstrap import token_issuer
from varve.servers import with_running_servers
from varve.settings import Settings

URL_FILE = "api.url"
_EVERYTHING = frozenset({Role.EDITOR, Role.ADMIN, Role.OPERATOR})
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


class ApiError(Exception):
    """The API refused, or can't be reached; the message says what to do.

    `status` is a word for what came of the request, `code` the name of the refusal, if it is one.
    """

    def __init__(self, message: str, code: str | None = None, *, status: str = "failed") -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class ApiClient:
    """Sends requests as one user; a problem document becomes an `ApiError`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, min_position: str | None = None, **parameters: Any) -> Any:
        """Return the JSON body of a GET; parameters that are None are left out."""
        given = {name: value for name, value in parameters.items() if value is not None}
        headers = {} if min_position is None else {"X-Min-Position": min_position}
        return (await self._send("GET", path, params=given, headers=headers)).json()

    async def post(self, path: str, **content: Any) -> tuple[Any, str]:
        """Return the JSON body of a POST, and the position of what it stored."""
        response = await self._send("POST", path, **content)
        return response.json(), response.headers["X-Position"]

    async def delete(self, path: str) -> str | None:
        """Send a DELETE; return where its answer says that its outcome is."""
        location: str | None = (await self._send("DELETE", path)).headers.get("Location")
        return location

    async def head(self) -> str:
        """Return the position of the log's end, for an operator."""
        return (await self._send("GET", "/admin/projections")).headers["X-Position"]

    async def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, f"/api/v1{path}", **content)
        except httpx.HTTPError as error:
            raise ApiError(f"No Varve answers at {self._http.base_url} ({error!r}); is `varve up` running?") from error
        if response.is_error:
            raise _error(response)
        return response


@asynccontextmanager
async def open_client(settings: Settings, tenant: str, user: str) -> AsyncIterator[ApiClient]:
    """Open a client of the Varve that `VARVE_URL` names, or of the one that runs here.

    The token is `VARVE_TOKEN`, or one that is made for `user` in `tenant` where this installation's secret is at hand.

    Raises:
        ApiError: no Varve is known here.
    """
    settings = await with_running_servers(settings)
    token = os.environ.get("VARVE_TOKEN")
    if token is None:
        actor = Actor(tenant=tenant, user=user, roles=_EVERYTHING)
        token = token_issuer(settings).issue(actor, timedelta(hours=12))
    url = os.environ.get("VARVE_URL") or _url_here(settings.data_directory)
    async with httpx.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT, trust_env=False
    ) as http:
        yield ApiClient(http)


def _url_here(data_directory: Path) -> str:
    try:
        return (data_directory / URL_FILE).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ApiError("No Varve runs here: start one with `varve up`, or set VARVE_URL") from error


def _error(response: httpx.Response) -> ApiError:
    try:
        problem = response.json()
        code = str(problem["type"]).removeprefix("urn:varve:problem:")
        wrong = [f"{'.'.join(map(str, each['location'][1:]))}: {each['message']}" for each in problem.get("errors", ())]
        return ApiError(" ".join([f"{problem['detail']} ({code})", *wrong]), code, status="refused")
    except (ValueError, KeyError, TypeError):
        return ApiError(f"unexpected answer {response.status_code} from {response.url}")
