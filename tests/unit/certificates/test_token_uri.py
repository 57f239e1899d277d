# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.certlogon.core.plugins.module_utils.certificates.token_uri import TYPES, TokenUri, is_token_uri, parse
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=40)
URIS = st.builds(
    TokenUri,
    **{
        name: st.none() | TEXT
        for name in (
            "token", "manufacturer", "serial", "model", "library_manufacturer", "library_description", "library_version",
            "slot_manufacturer", "slot_description", "object", "module_path", "module_name", "pin_source",
        )
    },
    slot_id=st.none() | st.integers(0, 2**64 - 1),
    type=st.none() | st.sampled_from(TYPES),
    id=st.none() | st.binary(max_size=40),
)  # fmt: skip


@given(URIS)
def test_what_is_written_is_read_back(uri: TokenUri) -> None:
    assert parse(str(uri)) == uri


@given(st.text(max_size=80))
def test_any_text_is_a_uri_or_a_format_error(text: str) -> None:
    for candidate in (text, "pkcs11:" + text, "pkcs11:token=x?" + text):
        try:
            assert is_token_uri(candidate)
            parse(candidate)
        except (FormatError, AssertionError) as error:
            assert isinstance(error, FormatError) or not is_token_uri(candidate)


# RFC 7512 3, "Examples of PKCS #11 URIs", as far as they hold no PIN
EXAMPLES = [
    ("pkcs11:", TokenUri()),
    (
        "pkcs11:object=my-pubkey;type=public",
        TokenUri(object="my-pubkey", type="public"),
    ),
    (
        "pkcs11:object=my-key;type=private?pin-source=file:/etc/token",
        TokenUri(object="my-key", type="private", pin_source="file:/etc/token"),
    ),
    (
        "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;"
        "id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin",
        TokenUri(
            token="The Software PKCS#11 Softtoken",
            manufacturer="Snake Oil, Inc.",
            model="1.0",
            object="my-certificate",
            type="cert",
            id=b"\x69\x95\x3e\x5c\xf4\xbd\xec\x91",
            serial="",
            pin_source="file:/etc/token_pin",
        ),
    ),
    (
        "pkcs11:object=my-sign-key;type=private?module-name=mypkcs11",
        TokenUri(object="my-sign-key", type="private", module_name="mypkcs11"),
    ),
    (
        "pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1",
        TokenUri(object="my-sign-key", type="private", module_path="/mnt/libmypkcs11.so.1"),
    ),
    (
        "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-source=/a%26b",
        TokenUri(token="Software PKCS#11 softtoken", manufacturer="Snake Oil, Inc.", pin_source="/a&b"),
    ),
    (
        "pkcs11:slot-description=Sun%20Metaslot;library-version=3.11;slot-id=327",
        TokenUri(slot_description="Sun Metaslot", library_version="3.11", slot_id=327),
    ),
    ("pkcs11:token=A%20name%20with%20a%20substring%20%25%3B", TokenUri(token="A name with a substring %;")),
    ("pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1", TokenUri(token="Name with a small A with acute: á")),
]


@pytest.mark.parametrize(("text", "uri"), EXAMPLES)
def test_examples_of_the_standard(text: str, uri: TokenUri) -> None:
    assert parse(text) == uri


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no PKCS#11 URI"),
        ("/etc/key.pem", "no PKCS#11 URI"),
        ("pkcs11:token", "gives token no value"),
        ("pkcs11:token=a;token=b", "names token twice"),
        ("pkcs11:toekn=a", "'toekn'"),
        ("pkcs11:module-path=/x", "before the question mark the attribute 'module-path'"),
        ("pkcs11:token=a?object=b", "after the question mark the attribute 'object'"),
        ("pkcs11:token=100%", "percent sign"),
        ("pkcs11:token=%ff", "no UTF-8"),
        ("pkcs11:token=%00", "NUL"),
        ("pkcs11:slot-id=one", "no number"),
        ("pkcs11:type=key", "there are public, private"),
        ("pkcs11:token=a;", "attribute ''"),
    ],
)
def test_what_is_wrong_is_named(text: str, why: str) -> None:
    with pytest.raises(FormatError, match="(?s)" + why.replace("(", r"\(")):
        parse(text)


def test_a_pin_in_the_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(FormatError) as caught:
        parse("pkcs11:token=a?pin-value=271828")
    assert "pin-value" in str(caught.value)
    assert "271828" not in str(caught.value)


def test_what_the_uri_does_not_name_matches_everything() -> None:
    facts: dict[str, str | int] = {"token": "card", "serial": "1", "slot_id": 3}
    assert TokenUri().matches(facts)
    assert TokenUri(token="card", object="anything").matches(facts)
    assert not TokenUri(token="card", serial="2").matches(facts)
    assert not TokenUri(slot_id=4).matches(facts)
