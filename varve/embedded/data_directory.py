"""Where the servers' data lies: in the given folder itself, or as root in a system folder that it points to."""

import hashlib
import os
import re
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from varve.embedded.account import DEFAULT_RUN_AS, ServiceAccount, owner_name, service_account
from varve.embedded.errors import DataDirectoryOfAnotherUser, DataDirectoryUnreachable, PlatformNotSupported

SYSTEM_FOLDER = Path("/var/lib/varve")

_LONGEST_SOCKET_PATH = 107
_LONGEST_SOCKET_NAME = len(".s.PGSQL.5432")
# PostgreSQL and libpq read a comma as the end of a path and `@` as an abstract name.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")


@dataclass(frozen=True)
class DataDirectory:
    """A prepared folder and the user that its servers run as.

    The folder itself belongs to whoever runs Varve, and so do the passwords and records in it; each server owns one
    folder inside and can't write beside it.

    Attributes:
        path: The real folder, no link.
        account: The user that the servers run as.
        system_folder: Where copies of programs may lie when that user can't execute the originals.
    """

    path: Path
    account: ServiceAccount
    system_folder: Path

    @classmethod
    def prepare(
        cls, folder: Path, *, run_as: str = DEFAULT_RUN_AS, system_folder: Path = SYSTEM_FOLDER
    ) -> "DataDirectory":
        """Make the folder where there is none; never change one that is there.

        Args:
            folder: Usually `.varve` of the project or working folder.
            run_as: As root, the system user that the servers run as.
            system_folder: As root, where the data lies; `folder` then is a link to a folder in it.

        Raises:
            PlatformNotSupported: This is not Linux.
            ServiceAccountMissing: As root, there is no user to run the servers as.
            DataDirectoryOfAnotherUser: The folder is somebody else's.
            DataDirectoryUnreachable: As root, `folder` is a real folder and the servers' user can't get into it.
        """
        if sys.platform != "linux":
            raise PlatformNotSupported(sys.platform)
        account = service_account(run_as)
        folder = folder.absolute()
        folder.parent.mkdir(parents=True, exist_ok=True)
        link = folder.parent.resolve() / folder.name
        path = _folder_of_root(link, account, system_folder) if os.geteuid() == 0 else _folder_of_user(link)
        return cls(path=path, account=account, system_folder=system_folder)

    @property
    def lock_file(self) -> Path:
        """Held by the process that runs the services."""
        return self.path / "lock"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data."""
        return self.path / "postgres"

    def redis(self, version: str) -> Path:
        """Redis's data, apart for each version: an older Redis can't read, or overlooks, what a newer one wrote."""
        return self.path / version

    def password_file(self, server: str) -> Path:
        """The password of a server's superuser."""
        return self.path / f"{server}.password"

    def process_record(self, server: str) -> Path:
        """The id of a server's process."""
        return self.path / f"{server}.process"

    def log_file(self, server: str) -> Path:
        """What a server says."""
        return self.path / f"{server}.log"

    def make_server_folder(self, path: Path) -> None:
        """Make a folder of ours that only the servers' user can open."""
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            return
        self.account.give(path)

    def socket_folder(self) -> Path:
        """Make, or find again, a private folder whose path is short enough for a Unix socket."""
        inside = self.path / "run"
        if _fits_sockets(inside):
            self.make_server_folder(inside)
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        outside = Path("/tmp", f"varve-{self.account.user_id}-{digest}")  # noqa: S108 - its owner and mode are verified
        self.make_server_folder(outside)
        if _is_private(outside, self.account):
            return outside
        # Somebody else took the name first: they can't harm a folder whose name they can't know.
        private = Path(tempfile.mkdtemp(prefix="varve-", dir=outside.parent))
        self.account.give(private)
        return private


def _fits_sockets(folder: Path) -> bool:
    length = len(os.fsencode(folder)) + 1 + _LONGEST_SOCKET_NAME
    return length <= _LONGEST_SOCKET_PATH and _PLAIN_PATH.fullmatch(str(folder)) is not None


def _is_private(folder: Path, account: ServiceAccount) -> bool:
    status = folder.lstat()
    mode = stat.S_IMODE(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == account.user_id and mode == stat.S_IRWXU


def _folder_of_user(link: Path) -> Path:
    path = link.resolve()
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        _refuse_other_owner(path)
    except PermissionError:
        raise DataDirectoryOfAnotherUser(path, owner_name(link if link.is_symlink() else link.parent)) from None
    return path


def _folder_of_root(link: Path, account: ServiceAccount, system_folder: Path) -> Path:
    if link.is_dir() and link.resolve().parent != system_folder.resolve():
        return _existing_folder(link.resolve(), account)
    _make_open_folder(system_folder, 0o755)
    path = system_folder.resolve() / _name_for(link)
    if link.is_symlink():
        if link.is_dir() and not _is_copied_link(link):
            path = link.resolve()
        else:
            link.unlink()
    _make_open_folder(path, 0o711)
    if not link.is_symlink():
        link.symlink_to(path)
    if _origin(path) != link:
        (path / "origin").write_text(str(link))
    _refuse_unreachable(path, account)
    return path


def _make_open_folder(path: Path, mode: int) -> None:
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        _refuse_other_owner(path)
    else:
        path.chmod(mode)  # whatever our umask is, the servers' user has to come through


def _origin(path: Path) -> Path | None:
    """The link that the data was made for."""
    try:
        return Path((path / "origin").read_text())
    except FileNotFoundError:
        return None


def _existing_folder(path: Path, account: ServiceAccount) -> Path:
    _refuse_other_owner(path)
    _refuse_unreachable(path, account)
    return path


def _name_for(link: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", link.parent.name)[:32].strip("-") or "varve"
    return f"{name}-{hashlib.sha256(os.fsencode(link)).hexdigest()[:12]}"


def _is_copied_link(link: Path) -> bool:
    """Whether the link came here with a copy of a project folder that still uses the data (a moved one doesn't)."""
    origin = _origin(link)
    return origin is not None and origin != link and origin.is_symlink() and origin.resolve() == link.resolve()


def _refuse_other_owner(path: Path) -> None:
    if path.stat().st_uid != os.geteuid():
        raise DataDirectoryOfAnotherUser(path, owner_name(path))


def _refuse_unreachable(path: Path, account: ServiceAccount) -> None:
    for folder in (path, *path.parents):
        status = folder.stat()
        needed = 0o100 if status.st_uid == account.user_id else 0o001
        if not status.st_mode & needed:
            raise DataDirectoryUnreachable(path, folder, account.name)
