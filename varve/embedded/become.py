"""Turn this process into a server that records its id, gives up root and ends with its supervisor.

It is run by path in an isolated interpreter (`python -I -S become.py …`) and so uses the standard library only. A small
program is plainer than code between fork and exec, which a process with threads must not run.
"""

import ctypes
import os
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Take the record's path, supervisor, user and group ids, the signal for the supervisor's death, and a command."""
    record, supervisor, user_id, group_id, death_signal, *command = arguments
    if record:
        _write_record(Path(record))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(int(group_id))
        os.setuid(int(user_id))
    # A change of user clears the signal, so it is asked for afterwards. It is sent when the *thread* that started this
    # process ends.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(supervisor):
        sys.exit("the supervisor is gone")
    os.execv(command[0], command)  # noqa: S606 - the absolute path of a server, from our own code


def start_ticks(pid: int | str) -> int | None:
    """The start of a process in clock ticks since boot: another process with its id has another. None if it ended."""
    try:
        # The second field, the name, may itself hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else int(ticks)


def boot_id() -> str:
    """The kernel's name for this boot: process ids and ticks of another one mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _write_record(record: Path) -> None:
    partial = record.with_suffix(".new")
    partial.write_text(f"{os.getpid()} {start_ticks('self')} {boot_id()}\n")
    partial.replace(record)


if __name__ == "__main__":
    main(sys.argv[1:])
