"""Start Varve from a clone on a machine that has Python and nothing else: `python3 varve demo`.

It makes `.venv` in the project folder from the hashed lock, when there is none or the lock has changed, and goes on
inside it. Standard library only, and nothing that Python 3.6 can't parse, so that an old Python is told what it lacks.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this is what tells users of an older Python
    sys.exit("Varve needs Python 3.11 or newer; {} is {}.{}.".format(sys.executable, *sys.version_info[:2]))

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # this folder, or with `-m` the working folder: their files must not pass for library modules

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Self, TextIO

_QUIET_SECONDS = 10.0  # between two lines of progress where there is no terminal


def main() -> int:
    """Prepare the environment if that is needed and go on inside it; the result is an exit code."""
    project = Path(__file__).resolve().parent.parent
    environment = Environment(project)
    if environment.is_ours() or not environment.lock.exists():  # else this is an installed package, and has its own
        return _run_command_line() if sys.flags.safe_path else _go_on_with(Path(sys.executable))
    try:
        environment.prepare()
    except KeyboardInterrupt:
        print("\nInterrupted; the next run begins anew.", file=sys.stderr)
        return 130
    except CannotPrepareError as error:
        print(error, file=sys.stderr)
        return 1
    return _go_on_with(environment.python)


class CannotPrepareError(Exception):
    """The environment can't be made; the message says why and what helps."""


class Environment:
    """The project's virtual environment.

    A stamp is written when everything is in it and names the lock it was made from; a mark is there while it is being
    made. Without a stamp, or with a mark, nothing in it is trusted. A folder with neither is somebody else's work: it
    is completed and not cleared.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        self._folder = project / ".venv"
        self._stamp = self._folder / "varve.json"
        self._mark = self._folder / "varve.unfinished"
        self._log = self._folder / "varve.log"
        self.lock = project / "requirements.lock"
        self.python = self._folder / "bin" / "python"

    def is_ours(self) -> bool:
        """Whether this process runs in it."""
        return self._folder.is_dir() and Path(sys.prefix).resolve() == self._folder.resolve()

    def prepare(self) -> None:
        """Make it what the lock and the project's metadata say; quick when it is already.

        Raises:
            CannotPrepareError: A part of Python is missing, or a package could not be installed.
        """
        if self._is_current():
            return
        _require_venv()
        with _only_one_at_a_time(self._project) as held:
            if not self._is_current():
                self._make(held)

    def _is_current(self) -> bool:
        return self._stamped() == self._wanted()

    def _stamped(self) -> dict[str, str]:
        if self._mark.exists() or not os.access(self.python, os.X_OK):
            return {}
        try:
            return dict(json.loads(self._stamp.read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def _wanted(self) -> dict[str, str]:
        return {
            "folder": str(self._project),  # scripts and the editable install hold absolute paths
            "lock": _digest(self.lock),
            "project": _digest(self._project / "pyproject.toml"),
        }

    def _make(self, held: int) -> None:
        stamped, wanted = self._stamped(), self._wanted()
        packages_are_right = {**stamped, "project": ""} == {**wanted, "project": ""}
        print(f"Preparing {self._folder} (only at the first start and after an update)", flush=True)
        if not packages_are_right:
            self._make_empty(held)
            self._install_packages(held)
        self._install_project(held)
        partial = self._stamp.with_suffix(".new")
        partial.write_text(json.dumps(wanted))
        partial.replace(self._stamp)
        self._mark.unlink(missing_ok=True)

    def _make_empty(self, held: int) -> None:
        somebody_elses = self.python.exists() and not self._mark.exists() and not self._stamp.exists()
        if somebody_elses:
            return
        try:
            self._folder.mkdir(exist_ok=True)
            self._mark.touch()
            for path in self._folder.iterdir():
                if path != self._mark:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError as error:
            raise CannotPrepareError(f"{self._folder} can't be made anew: {error}") from error
        command = [sys.executable, "-I", "-m", "venv", str(self._folder)]
        self._run("making a virtual environment", command, held, Progress())

    def _install_packages(self, held: int) -> None:
        total = len(re.findall(r"^[A-Za-z0-9][\w.-]*==", self.lock.read_text(), flags=re.MULTILINE))
        options = ["--no-deps", "--require-hashes", "-r", str(self.lock)]
        self._run(f"installing {total} packages", self._pip(*options), held, PackagesProgress(total))

    def _install_project(self, held: int) -> None:
        options = ["--no-deps", "--no-build-isolation", "-e", str(self._project)]
        self._run("installing Varve", self._pip(*options), held, Progress())

    def _pip(self, *options: str) -> list[str]:
        return [str(self.python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install", *options]

    def _run(self, step: str, command: list[str], held: int, progress: "Progress") -> None:
        with self._log.open("a") as log, Line(step) as line:
            process = subprocess.Popen(  # noqa: S603 - our own Python, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=_environment_for_pip(),
                cwd=str(self._project),
                # The lock lives as long as its last holder: a pip that outlives us keeps the next launcher waiting.
                pass_fds=[held],
            )
            returncode = _follow(process, progress, line, log)
        if returncode != 0:
            tail = "".join(self._log.read_text(errors="replace").splitlines(keepends=True)[-20:])
            raise CannotPrepareError(f"{tail}\n{step[0].upper()}{step[1:]} failed. The whole log: {self._log}")


class Progress:
    """What a step's output says about how far it is: nothing."""

    def read(self, output: str) -> None:
        """Take one line of output."""

    def __str__(self) -> str:
        return ""


class PackagesProgress(Progress):
    """How many packages pip has found."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._found = 0
        self._installing = False

    def read(self, output: str) -> None:
        """Count the lines that pip begins a package with."""
        self._found += output.startswith(("Collecting ", "Requirement already satisfied", "Ignoring "))
        self._installing = self._installing or output.startswith("Installing collected packages")

    def __str__(self) -> str:
        return "all fetched, unpacking" if self._installing else f"{self._found} of {self._total}"


class Line:
    """A step's line on the screen, written over while it lasts; where there is no terminal, a line now and then."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._began = time.monotonic()
        self._shown = self._began
        self._live = sys.stdout.isatty()

    def __enter__(self) -> Self:
        self.show("")
        return self

    def __exit__(self, *error: object) -> None:
        self._print("failed" if error[0] else "done", "\n")

    def show(self, progress: str) -> None:
        """Show how far the step is."""
        if self._live:
            self._print(progress, "")
        elif time.monotonic() - self._shown > _QUIET_SECONDS:
            self._shown = time.monotonic()
            self._print(progress, "\n")

    def _print(self, progress: str, end: str) -> None:
        start = "\r\033[K" if self._live else ""
        detail = f": {progress}" if progress else ""
        print(f"{start}  {self._step}{detail} ({time.monotonic() - self._began:.0f} s)", end=end, flush=True)


def _follow(process: "subprocess.Popen[str]", progress: Progress, line: Line, log: TextIO) -> int:
    reader = threading.Thread(target=_read, args=(process, progress, log))
    reader.start()
    try:
        while True:
            try:
                return process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                line.show(str(progress))
    finally:
        process.terminate()  # after an interrupt; harmless when it has ended
        process.wait()
        reader.join()


def _read(process: "subprocess.Popen[str]", progress: Progress, log: TextIO) -> None:
    for output in process.stdout or ():
        log.write(output)
        progress.read(output)


@contextlib.contextmanager
def _only_one_at_a_time(project: Path) -> Iterator[int]:
    # The project folder itself is locked: no file is left behind, and none is lost when `.venv` is cleared.
    held = os.open(project, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another start of Varve that is preparing .venv", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield held
    finally:
        os.close(held)


def _require_venv() -> None:
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            package = "python{}.{}-venv".format(*sys.version_info[:2])
            raise CannotPrepareError(
                f"Python's module {module} is missing. On Debian and Ubuntu: apt-get install {package}"
            )


def _environment_for_pip() -> dict[str, str]:
    """Ours without what would send packages elsewhere; where they come from stays the user's business."""
    elsewhere = {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_LOG", "PIP_QUIET", "PIP_VERBOSE"}
    kept = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return {**kept, "PIP_NO_COLOR": "1"}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _go_on_with(python: Path) -> NoReturn:
    """Become that Python, which adds no working folder to its module path; nor do the processes it starts."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    environment["PYTHONSAFEPATH"] = "1"
    sys.stdout.flush()
    os.execve(python, [str(python), "-P", "-m", "varve", *sys.argv[1:]], environment)  # noqa: S606 - no shell is wanted


def _run_command_line() -> int:
    from varve.cli import main as command_line

    sys.argv[0] = "varve"
    command_line()
    return 0


if __name__ == "__main__":
    sys.exit(main())
