"""Passwords of the servers' superusers: made once per data directory, kept in files that only their maker can read."""

import os
import secrets
from pathlib import Path

from varve.embedded.errors import PasswordMissing


def read_password(path: Path) -> str:
    """The password in a file.

    Raises:
        PasswordMissing: There is no such file.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise PasswordMissing(path) from None


def make_password(path: Path) -> str:
    """The password in a file, made and stored whole when there is none."""
    if path.exists():
        return read_password(path)
    password = secrets.token_urlsafe(32)
    write_private(path, password)
    return password


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all, and durably."""
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)
