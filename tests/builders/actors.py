"""The people of the tests: two tenants, every role."""

from domain.shared.access import Actor, Role


def actor(tenant: str, user: str, *roles: Role) -> Actor:
    """Someone in `tenant`; an editor when no role is named."""
    return Actor(tenant=tenant, user=user, roles=frozenset(roles or {Role.EDITOR}))


ANN = actor("acme", "ann")
BEN = actor("acme", "ben")
RITA_READS = actor("acme", "rita", Role.READER)
ADA_ADMINISTERS = actor("acme", "ada", Role.ADMIN)
OTTO_OPERATES = actor("acme", "otto", Role.OPERATOR)
EVE = actor("umbra", "eve")
"""An editor of another tenant."""
ANN_ELSEWHERE = actor("umbra", "ann")
"""The other tenant has an `ann` too: a user's name means nothing outside its tenant."""
UMA_ADMINISTERS_ELSEWHERE = actor("umbra", "uma", Role.ADMIN)

PEOPLE = {
    person.user: person
    for person in (ANN, BEN, RITA_READS, ADA_ADMINISTERS, OTTO_OPERATES, EVE, UMA_ADMINISTERS_ELSEWHERE)
}
