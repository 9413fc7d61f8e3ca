"""How large what is measured is: the defaults are for figures that count, smaller ones for a try."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of events, and seconds.

    Attributes:
        catch_up_events: which a live projection is behind.
        shared_events: which are there when fifty projections begin.
        rebuilt_events: which a rebuild folds beside commands and queries.
        seconds: for how long commands are sent at each rate.
    """

    catch_up_events: int = 50_000
    shared_events: int = 40_000
    rebuilt_events: int = 1_000_000
    seconds: float = 20.0
