"""A plain CPU burner: keeps a part of one core busy, with nothing else, until it is terminated.

Its first line says which part, from 0 to 1; it answers with a line and begins.
"""

import signal
import sys
import time

_PERIOD_SECONDS = 0.02
_LONGEST_SECONDS = 900.0
"""After which it ends by itself, should its parent have been killed."""


def main() -> None:
    part = float(sys.stdin.readline())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print("burning", flush=True)
    ends = time.monotonic() + _LONGEST_SECONDS
    while (begun := time.monotonic()) < ends:
        used = time.process_time()  # what it gets, not what it asks for: the core may have other work
        while time.process_time() - used < _PERIOD_SECONDS * part:
            pass
        time.sleep(max(0.0, begun + _PERIOD_SECONDS - time.monotonic()))


if __name__ == "__main__":
    main()
