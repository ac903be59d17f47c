"""The message token: the two published vectors, and what must be refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import tokens

BODY = b'[{"bn":"device-name","n":"humidity","vd":"aG9paG9pAA"}]'
TOKEN = "4d53c667486bb4679922b901dd733a936a07983f73275941abfb3068a0ba8748"
BODY_2 = (
    b'[{"bn":"device-name","i_":-23,"vd":"aG9paG9pAA"},{"i_":-19,"vb":true},{"i_":-18,"v":1.500000},'
    b'{"i_":-24,"v":10},{"i_":-15,"vs":"haihai"}]'
)
TOKEN_2 = "ca385fee74e177be286d3b2bc5825fb1189ecb188fb47edb8ad5bbdd5e7836f0"


@pytest.mark.parametrize(("body", "secret", "token"), [(BODY, "MYKEY2", TOKEN), (BODY_2, "MYKEY", TOKEN_2)])
def test_token_published_vectors(body: bytes, secret: str, token: str) -> None:
    assert tokens.message_token(body, secret) == token
    assert tokens.verify(body, secret, token)
    assert tokens.verify(body, secret, token.upper())


@pytest.mark.parametrize(
    ("body", "secret", "token"),
    [
        (BODY + b" ", "MYKEY2", TOKEN),
        (BODY, "mykey2", TOKEN),
        (BODY, "MYKEY2", TOKEN[:-1]),
        (BODY, "MYKEY2", ""),
        (BODY, "MYKEY2", "ş" * 64),
        (BODY, "", tokens.message_token(BODY, "")),
    ],
)
def test_verify_refuses(body: bytes, secret: str, token: str) -> None:
    assert not tokens.verify(body, secret, token)


@given(st.binary(max_size=200), st.text(max_size=20), st.text(max_size=80))
def test_verify_never_raises(body: bytes, secret: str, token: str) -> None:
    assert tokens.verify(body, secret, token) in {True, False}


def test_new_secret_has_the_documented_form_and_differs() -> None:
    made = {tokens.new_secret() for _ in range(20)}
    assert len(made) == 20
    assert all(tokens.SECRET_PATTERN.match(secret) and len(secret) == 40 for secret in made)


@pytest.mark.parametrize("secret", ["a" * 29, "a" * 101, "a" * 30 + "\n", "a" * 30 + "-", "é" * 40])
def test_secret_pattern_refuses(secret: str) -> None:
    assert tokens.SECRET_PATTERN.match(secret) is None
