"""Start a program as the servers' user, in a process group of its own, tied to this process's life."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from varve.embedded import become
from varve.embedded.account import ServiceAccount
from varve.embedded.process_record import StopSignals

_LARGEST_LOG = 10_000_000  # bytes, then it is put aside as `.old` at the next start


@dataclass(frozen=True)
class Command:
    """What to run.

    Attributes:
        arguments: The program's absolute path and its arguments; no secret, since everyone can read them.
        account: The user to run as.
        log_file: What the program says is added to it.
        record: Where the process id is kept for a later supervisor, if it is to outlive this one at all.
        death_signal: Sent to the program when the thread that started it ends.
        standard_input: Given to the program, which then reads the end of the file.
    """

    arguments: tuple[str, ...]
    account: ServiceAccount
    log_file: Path
    record: Path | None
    death_signal: signal.Signals
    standard_input: bytes = b""


def start(command: Command) -> subprocess.Popen[bytes]:
    """Start it; quick, and to be called on a thread that lives as long as the program should."""
    account = command.account
    become_it = [sys.executable, "-I", "-S", become.__file__, str(command.record or "")]
    become_it += [str(os.getpid()), str(account.user_id), str(account.group_id), str(int(command.death_signal))]
    with _open_log(command.log_file) as log:
        child = subprocess.Popen(  # noqa: S603 - no shell, programs by absolute path
            [*become_it, *command.arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
            env=clean_environment(),
            start_new_session=True,  # Ctrl-C and a closed terminal reach only us
            umask=0o077,
        )
    _give_input(child, command.standard_input)
    return child


def clean_environment() -> dict[str, str]:
    """What a server gets to know: nothing of ours but where a Python built in an unusual place finds its library."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **kept}


async def wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for the end. Polling needs no signal handler, thread or kind of event loop."""
    while (returncode := child.poll()) is None:  # noqa: ASYNC110 - a process sets no event
        await asyncio.sleep(0.05)
    return returncode


async def stop(child: subprocess.Popen[bytes], signals: StopSignals) -> None:
    """End it with ever harder signals."""
    for sent, seconds in signals:
        if child.poll() is not None:
            return
        child.send_signal(sent)
        try:
            async with asyncio.timeout(seconds):
                await wait(child)
        except TimeoutError:
            continue


async def run(command: Command) -> int:
    """Run a program to its end, and end it when the caller is cancelled."""
    child = start(command)
    try:
        return await wait(child)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # its own children too
            child.wait()


def rotate_log(log_file: Path) -> None:
    """Put a large log aside; between two runs only, since a running server has it open."""
    if log_file.exists() and log_file.stat().st_size > _LARGEST_LOG:
        log_file.replace(log_file.with_name(f"{log_file.name}.old"))


def log_tail(log_file: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    with log_file.open("rb") as log:
        log.seek(max(0, log_file.stat().st_size - 16_384))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def _open_log(log_file: Path) -> BinaryIO:
    # Errors quote statements, and statements hold data: for us only.
    return os.fdopen(os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600), "ab")


def _give_input(child: subprocess.Popen[bytes], standard_input: bytes) -> None:
    if child.stdin is None:
        return
    try:
        child.stdin.write(standard_input)  # far less than a pipe holds, so it never waits
        child.stdin.close()
    except BrokenPipeError:
        return  # it has ended already: whoever waits for it sees that
