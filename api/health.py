"""Whether this process lives, and whether what it depends on answers."""

import asyncio
import contextlib
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api.requests import ServicesOf
from api.services import HealthCheck, HealthWarning
from eventstore.faults import DependencyError

router = APIRouter(prefix="/health", tags=["health"])

_SECONDS = 2.0


class Readiness(BaseModel):
    """`ready`, or what is wrong with each dependency.

    `warnings` are for operators: a process with some is as good as any other, and stays in rotation.
    """

    status: str
    checks: dict[str, str]
    warnings: dict[str, str]


@router.get("/live")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/ready")
async def ready(services: ServicesOf, response: Response) -> Readiness:
    """Ask every dependency at once, each within a time limit."""
    names = list(services.health_checks)
    warnings = asyncio.create_task(_warnings(services.health_warnings))
    results = await asyncio.gather(*(_check(services.health_checks[name]) for name in names))
    checks = dict(zip(names, results, strict=True))
    is_ready = all(result == "ok" for result in results)
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(status="ready" if is_ready else "not ready", checks=checks, warnings=await warnings)


async def _warnings(asked: Mapping[str, HealthWarning]) -> dict[str, str]:
    said = await asyncio.gather(*(_warning(ask) for ask in asked.values()))
    return {name: sentence for name, sentence in zip(asked, said, strict=True) if sentence is not None}


async def _warning(ask: HealthWarning) -> str | None:
    """Return what there is to be said; a dependency that is away is the checks' to tell."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_SECONDS):
            return await ask()
    return None


async def _check(check: HealthCheck) -> str:
    try:
        async with asyncio.timeout(_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {_SECONDS:g} s"
    except DependencyError as error:
        return error.fault.kind
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return type(error).__name__
    return "ok"
