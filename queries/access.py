"""The one access filter of all list and search SQL: who sees which row of a tenant."""

from typing import Any

from domain.shared.access import Actor


def visible_to(actor: Actor, alias: str) -> tuple[str, dict[str, Any]]:
    """Return the condition on the columns `owner` and `visibility` of `alias`, and its parameters.

    The tenant is not in it: row-level security holds that, whatever a query forgets.
    """
    if actor.sees_private:
        return "true", {}
    return f"({alias}.visibility = 'tenant' or {alias}.owner = %(access_user)s)", {"access_user": actor.user}
