"""The process that works on texts: it limits itself, does one job after another, and ends with its worker."""

import math
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import orjson

from workers.process_limits import die_with, volunteer_for_the_kernel
from workers.texts.limits import cpu_seconds
from workers.texts.steps import Step, steps
from workers.texts.wire import END, FAILED, HEADER, LAST, PART, READY, Config, frame

MEMORY = b"memory"
"""The answer to a job that takes more memory than there may be."""
_OPEN_FILES = 32
_SCORE = 900
"""Linux is to end this process before any other of the machine."""
_FRAMES = 3
_GATHERED_BYTES = 400_000
_MOST_KEPT_BYTES = 300_000_000


def main(make_steps: Callable[[str, int], Mapping[str, Step]] = steps) -> None:
    """Do the jobs that come by standard input, a socket, until its other end is closed.

    Args:
        make_steps: makes the steps; tests give some that misbehave.
    """
    config = Config(**orjson.loads(sys.argv[1]))
    channel = _take_standard_input()
    _limit(config)
    known = make_steps(config.tokenizer, config.max_tokens)
    jobs = channel.makefile("rb")
    channel.sendall(frame(0, READY))
    while (job := _read(jobs)) is not None:
        number, kind, parts, octets = job
        _allow(cpu_seconds(octets))
        if not _answer(channel, number, lambda: known[kind](parts)):  # noqa: B023 - called within this turn
            break
    os._exit(0)  # nothing to tidy up


def _take_standard_input() -> socket.socket:
    """A library that prints must not write into the answers."""
    channel = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return channel


def _limit(config: Config) -> None:
    die_with(config.parent, signal.SIGKILL)
    volunteer_for_the_kernel(_SCORE)
    _, most = resource.getrlimit(resource.RLIMIT_AS)  # the worker may have a limit, too
    memory = config.memory_bytes if most == resource.RLIM_INFINITY else min(most, config.memory_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))


def _allow(seconds: float) -> None:
    """Have the kernel end this process when it has worked for so long from now on, whatever holds it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _read(jobs: BinaryIO) -> tuple[int, str, list[bytes], int] | None:
    """Return the next job: its number, its kind, its parts, and for how many bytes of text it is allowed to work."""
    parts: list[bytes] = []
    while len(head := jobs.read(HEADER.size)) == HEADER.size:
        length, number, kind = HEADER.unpack(head)
        payload = jobs.read(length)
        if kind == PART:
            parts.append(payload)
        else:
            name, octets = orjson.loads(payload)
            return number, name, parts, octets
    return None


def _answer(channel: socket.socket, number: int, step: Callable[[], Iterator[bytes]]) -> bool:
    """Send a job's answer; return whether this process can do another one."""
    try:
        waiting = bytearray()
        for piece in step():
            waiting += frame(number, PART, piece)
            if len(waiting) > _GATHERED_BYTES:
                channel.sendall(waiting)
                waiting.clear()
        is_last = _resident_bytes() > _MOST_KEPT_BYTES
        channel.sendall(waiting + frame(number, LAST if is_last else END))
    except MemoryError:
        channel.sendall(frame(number, FAILED, MEMORY))
        return False
    except ConnectionError:
        return False  # the worker has gone
    except Exception as error:  # noqa: BLE001 - what a step raises is an outcome, told to the worker
        channel.sendall(frame(number, FAILED, _where(error).encode()))
    else:
        return not is_last
    return True


def _resident_bytes() -> int:
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in reversed(frames))
    return f"{type(error).__name__} at {places}"


if __name__ == "__main__":
    main()
