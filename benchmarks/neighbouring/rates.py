"""How often the tenant beside sends what, and what its times may be."""

from collections.abc import Mapping
from typing import Literal

Measure = Literal["command", "query", "list", "search", "document", "wait"]

RATES: Mapping[Measure, float] = {
    "command": 2.0,
    "query": 5.0,
    "list": 2.0,
    "search": 2.0,
    "document": 0.2,
    "wait": 1.0,
}
"""Requests a second; so few that they are answered at once where nothing else is to do."""

MOST_RATIO = 2.0
"""How many times as long as beside a burner the p95 may be."""
ALWAYS_ALLOWED_MS: Mapping[Measure, float] = {"command": 50.0, "query": 50.0, "list": 50.0, "search": 300.0}
"""Milliseconds that the p95 may always take. What is not named here is reported only."""
