"""The user that the servers run as: ourselves, or a system user when we are root."""

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from varve.embedded.errors import ServiceAccountMissing

DEFAULT_RUN_AS = "varve"
_LOCK = Path("/run/varve-useradd.lock")


@dataclass(frozen=True)
class ServiceAccount:
    """A user of this machine by its ids, which need no entry in the user database."""

    name: str
    user_id: int
    group_id: int

    def give(self, path: Path) -> None:
        """Make a file or folder that we just made this user's."""
        if self.user_id != os.geteuid():
            os.chown(path, self.user_id, self.group_id, follow_symlinks=False)


def service_account(run_as: str) -> ServiceAccount:
    """Ourselves as an ordinary user; as root the system user `run_as`, made when there is none.

    Raises:
        ServiceAccountMissing: We are root, and the user can't be made or is root too.
    """
    if os.geteuid() != 0:
        return ServiceAccount(_name_of(os.geteuid()), os.geteuid(), os.getegid())
    entry = _find(run_as) or _make_system_user(run_as)
    if entry.pw_uid == 0:
        raise ServiceAccountMissing(run_as, "it is root")
    return ServiceAccount(run_as, entry.pw_uid, entry.pw_gid)


def owner_name(path: Path) -> str:
    """The name, or the number, of the user that a path belongs to."""
    return _name_of(path.lstat().st_uid)


def _name_of(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _make_system_user(name: str) -> pwd.struct_passwd:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        raise ServiceAccountMissing(name, "it doesn't exist and there is no `useradd` to make it")
    command = [useradd, "--system", "--user-group", "--no-create-home"]
    command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", "--", name]
    with _only_one_at_a_time(name):
        entry = _find(name)
        if entry is not None:
            return entry
        made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 - no shell, an absolute program, one name after `--`
        entry = _find(name)
    if entry is None:
        raise ServiceAccountMissing(name, f"it can't be made ({made.stderr.strip()})")
    return entry


@contextlib.contextmanager
def _only_one_at_a_time(name: str) -> Iterator[None]:
    """Keep others from making a user meanwhile: of two `useradd` for one name the later gives it another id."""
    try:
        descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ServiceAccountMissing(name, f"it can't be made while {_LOCK} can't be opened ({error})") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
