"""Where the embedded services are, for this process and for others of the same user."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from varve.embedded.become import boot_id, start_ticks
from varve.embedded.passwords import write_private
from varve.embedded.process_record import ProcessRecord

_PUBLISHED = "services.json"


@dataclass(frozen=True)
class ServiceUrls:
    """URLs with the superusers' passwords; both go through Unix sockets.

    Attributes:
        admin_database_url: PostgreSQL's superuser in the database `postgres`.
        redis_url: Redis's database 0.
    """

    admin_database_url: str
    redis_url: str


def postgres_url(socket_folder: Path, *, user: str, password: str, database: str) -> str:
    """A URL that libpq understands."""
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"postgresql://{credentials}@/{quote(database, safe='')}?host={quote(str(socket_folder))}"


def redis_url(socket: Path, *, password: str) -> str:
    """A URL that redis-py understands."""
    return f"unix://:{quote(password, safe='')}@{quote(str(socket))}?db=0"


def urls_of_running_services(folder: Path) -> ServiceUrls | None:
    """The URLs of the services that another process runs in a data directory, or None when none does.

    Args:
        folder: As given to `EmbeddedServices`, usually `.varve`.

    Raises:
        PermissionError: The services are another user's.
    """
    try:
        published = json.loads((folder / _PUBLISHED).read_text())
    except FileNotFoundError:
        return None
    if not ProcessRecord(**published["supervisor"]).is_alive():
        return None
    return ServiceUrls(**published["urls"])


def publish_urls(folder: Path, urls: ServiceUrls) -> None:
    """Tell other processes where the services of this one are."""
    supervisor = ProcessRecord(os.getpid(), start_ticks("self") or 0, boot_id())
    write_private(folder / _PUBLISHED, json.dumps({"supervisor": asdict(supervisor), "urls": asdict(urls)}))


def withdraw_urls(folder: Path) -> None:
    """Say that the services are gone."""
    (folder / _PUBLISHED).unlink(missing_ok=True)
