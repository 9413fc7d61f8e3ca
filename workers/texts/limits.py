"""How much work on a text may cost."""

MEMORY_BYTES = 1024 * 1024 * 1024
"""Of address space of the process, its libraries included."""
START_SECONDS = 30.0
_SECONDS = 2.0
_SECONDS_PER_MEGABYTE = 10.0
_PATIENCE = 4.0


def cpu_seconds(octets: int) -> float:
    """Return for how long a processor may work on a text of so many bytes."""
    return _SECONDS + _SECONDS_PER_MEGABYTE * octets / 1_000_000


def clock_seconds(octets: int) -> float:
    """Return for how long to wait for it: longer, since others want the processors too, or the machine is paused."""
    return _PATIENCE * cpu_seconds(octets)
