"""Finds the servers to use: those of the settings, or the embedded ones that `varve up` runs here."""

import secrets
from pathlib import Path

from pydantic import SecretStr

from varve.embedded import create_database_if_absent, urls_of_running_services
from varve.embedded.passwords import write_private
from varve.embedded.urls import ServiceUrls
from varve.settings import Settings

_SECRET_FILE = "secret.key"  # noqa: S105 - the name of a file


def is_embedded(settings: Settings) -> bool:
    """Whether `varve up` starts servers of its own."""
    return settings.database_url is None and settings.redis_url is None


async def with_running_servers(settings: Settings) -> Settings:
    """Return `settings` with the embedded servers' URLs filled in, if they run and no others are set."""
    if not is_embedded(settings):
        return settings
    urls = urls_of_running_services(settings.data_directory)
    return settings if urls is None else await with_embedded_servers(settings, urls)


async def with_embedded_servers(settings: Settings, urls: ServiceUrls) -> Settings:
    """Return `settings` with these servers' URLs, Varve's database made, and this data directory's own secret key."""
    secret = settings.secret_key or SecretStr(_secret_of(settings.data_directory))
    return settings.model_copy(
        update={
            "database_url": SecretStr(await create_database_if_absent(urls.admin_database_url)),
            "redis_url": SecretStr(urls.redis_url),
            "secret_key": secret,
        }
    )


def _secret_of(data_directory: Path) -> str:
    path = data_directory / _SECRET_FILE
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48))
    return path.read_text()
