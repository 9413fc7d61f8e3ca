"""Bearer tokens: who is let in, and what each role may do."""

import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from httpx import AsyncClient
from joserfc import jwt

from api.tokens import InvalidTokenError, TokenIssuer, TokenVerifier, signing_key
from domain.shared.access import Actor, Role
from tests.api.problem import require_problem
from tests.builders.actors import ANN, actor
from tests.builders.entries import NOBODYS_ID
from tests.builders.requests import ENTRIES
from tests.fixtures.http import ClientOf
from varve.bootstrap import token_issuer
from varve.system import SystemClock


def claims(**changes):
    now = int(time.time())
    whole = {"iss": "varve", "sub": "ann", "tenant": "acme", "roles": ["editor"], "iat": now, "exp": now + 60}
    return {name: value for name, value in (whole | changes).items() if value is not None}


def segment(value):
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def key():
    return signing_key(b"this installation's own 32 bytes")


@pytest.fixture(scope="module")
def accepts(key):
    verifier = TokenVerifier(key, SystemClock())

    def is_accepted(token):
        try:
            verifier.verify(token)
        except InvalidTokenError:
            return False
        return True

    return is_accepted


@pytest.fixture(scope="module")
def sign(key):
    def signed(**changes):
        return jwt.encode({"alg": "Ed25519"}, claims(**changes), key, algorithms=["Ed25519"])

    return signed


def test_a_signed_token_is_accepted(sign, accepts):
    assert accepts(sign())


WRONG_HEADERS = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": "Basic YW5uOmFubg=="},
    {"Authorization": "Bearer nonsense"},
    {"Authorization": "Bearer a.b.c"},
    {"Authorization": b"Bearer \xff\xfe"},
    {"Authorization": "Bearer " + "x" * 10_000},
]


async def test_without_a_token_nobody_is_let_in(client: AsyncClient):
    for headers in WRONG_HEADERS:
        for method, url in (("GET", ENTRIES), ("POST", ENTRIES), ("GET", f"{ENTRIES}/{NOBODYS_ID}")):
            answer = await client.request(method, url, json={"name": "x"}, headers=headers)
            require_problem(answer, 401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_refused_token_says_why(settings, client: AsyncClient):
    expired = token_issuer(settings).issue(ANN, timedelta(seconds=-1))
    answer = await client.get(ENTRIES, headers={"Authorization": f"Bearer {expired}"})
    require_problem(answer, 401, "unauthorized")
    assert "expired" in answer.json()["detail"]


def test_an_expired_token_is_refused(key, accepts):
    assert not accepts(TokenIssuer(key, SystemClock()).issue(ANN, timedelta(seconds=-1)))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"iss": None},
        {"iss": "elsewhere"},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\x00nn"},
        {"tenant": None},
        {"tenant": ""},
        {"tenant": "Acme"},
        {"tenant": "acme/../umbra"},
        {"roles": None},
        {"roles": ["emperor"]},
        {"roles": "editor"},
        {"roles": ["system"]},
        {"roles": ["editor", "system"]},
    ],
    ids=str,
)
def test_a_signed_token_with_wrong_claims_is_refused(sign, accepts, changes):
    assert not accepts(sign(**changes))


async def test_a_token_without_roles_may_do_nothing(client_of: ClientOf):
    nobody = client_of(Actor(tenant="acme", user="ann", roles=frozenset()))
    require_problem(await nobody.get(ENTRIES), 403, "permission-denied")


def test_a_token_of_another_installation_is_refused(accepts):
    issuer = TokenIssuer(signing_key(b"another installation's 32 bytes!"), SystemClock())
    assert not accepts(issuer.issue(ANN, timedelta(hours=1)))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_an_unsigned_token_is_refused(accepts, algorithm):
    assert not accepts(f"{segment({'alg': algorithm})}.{segment(claims())}.")


@pytest.mark.parametrize("form", ["raw", "pem", "der"])
def test_a_public_key_is_no_shared_secret(key, accepts, form):
    public = key.public_key
    secret = {
        "raw": public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    }[form]
    signed = f"{segment({'alg': 'HS256'})}.{segment(claims())}"
    signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
    assert not accepts(f"{signed}.{segment(signature)}")


def test_a_token_whose_claims_were_changed_is_refused(sign, accepts):
    header, _, signature = sign().split(".")
    assert not accepts(f"{header}.{segment(claims(tenant='umbra'))}.{signature}")


async def test_no_token_can_be_issued_to_the_system(settings):
    with pytest.raises(ValueError, match="system"):
        token_issuer(settings).issue(actor("acme", "varve", Role.SYSTEM), timedelta(hours=1))


CHANGES = [
    ("POST", "", {"name": "Varve"}),
    ("POST", ":batch", {"entries": [{"name": "Varve"}]}),
    ("PATCH", f"/{NOBODYS_ID}", {"name": "Varve"}),
    ("DELETE", f"/{NOBODYS_ID}", None),
    ("POST", f"/{NOBODYS_ID}/restore", None),
    ("POST", f"/{NOBODYS_ID}/links", {"target_id": str(NOBODYS_ID), "relation": "is"}),
    ("DELETE", f"/{NOBODYS_ID}/links?target_id={NOBODYS_ID}&relation=is", None),
]


@pytest.mark.usefixtures("engine")
class TestRoles:
    async def test_a_reader_reads(self, rita: AsyncClient):
        assert (await rita.get(ENTRIES)).status_code == 200

    async def test_a_reader_changes_nothing(self, rita: AsyncClient):
        for method, path, body in CHANGES:
            refused = await rita.request(method, f"{ENTRIES}{path}", json=body)
            require_problem(refused, 403, "permission-denied")
            assert refused.json()["permission"] == "knowledge:write"

    async def test_an_operator_reads_no_knowledge(self, otto: AsyncClient):
        for path in ("", f"/{NOBODYS_ID}", f"/{NOBODYS_ID}/history", f"/{NOBODYS_ID}/state"):
            require_problem(await otto.get(f"{ENTRIES}{path}"), 403, "permission-denied")
