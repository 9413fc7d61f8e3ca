"""Bearer tokens: JWTs signed with Ed25519 that name a tenant, a user and roles."""

from collections import OrderedDict
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import ValidationError

from domain.shared.access import Actor, Role
from domain.shared.ids import Clock

_ALGORITHM = "Ed25519"
_ISSUER = "varve"
_MOST_TOKENS = 10_000


class InvalidTokenError(Exception):
    """The token is not one that this server accepts; the message says why."""


def signing_key(seed: bytes) -> OKPKey:
    """Return the Ed25519 key whose private part is the 32 bytes of `seed`."""
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return OKPKey.import_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class TokenIssuer:
    """Makes tokens."""

    def __init__(self, key: OKPKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def issue(self, actor: Actor, lifetime: timedelta) -> str:
        """Return a token for `actor`.

        Raises:
            ValueError: it names the system's own role, which no token may carry.
        """
        if Role.SYSTEM in actor.roles:
            raise ValueError("no token may carry the role 'system'")
        now = self._clock.now()
        claims = {
            "iss": _ISSUER,
            "sub": actor.user,
            "tenant": actor.tenant,
            "roles": sorted(actor.roles),
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, self._key, algorithms=[_ALGORITHM])


class TokenVerifier:
    """Reads tokens. What was found of one holds until it expires, so its signature is looked at once."""

    def __init__(self, key: OKPKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._verified: OrderedDict[str, tuple[Actor, int]] = OrderedDict()

    def verify(self, token: str) -> Actor:
        """Return who the token speaks for.

        Raises:
            InvalidTokenError: it is malformed, expired, signed by another key or names no tenant, user and roles.
        """
        actor, expires = self._verified.get(token) or self._read(token)
        if expires <= self._clock.now().timestamp():
            self._verified.pop(token, None)
            raise InvalidTokenError("the token has expired; get a new one")
        if token not in self._verified:
            self._verified[token] = actor, expires
            if len(self._verified) > _MOST_TOKENS:
                self._verified.popitem(last=False)
        return actor

    def _read(self, token: str) -> tuple[Actor, int]:
        try:
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise InvalidTokenError("the token is malformed or not signed by this server") from error
        if claims.get("iss") != _ISSUER:
            raise InvalidTokenError("the token is from another issuer")
        expires = claims.get("exp")
        if not isinstance(expires, int):
            raise InvalidTokenError("the token has expired; get a new one")
        try:
            actor = Actor.model_validate(
                {"tenant": claims.get("tenant"), "user": claims.get("sub"), "roles": claims.get("roles")}
            )
        except ValidationError as error:
            raise InvalidTokenError("the token must name a tenant, a user and roles") from error
        if Role.SYSTEM in actor.roles:
            raise InvalidTokenError("no token may carry the role 'system'")
        return actor, expires
