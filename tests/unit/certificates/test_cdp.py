# SPDX-License-Identifier: GPL-3.0-or-later
"""CDP addresses: RFC 4516, RFC 4515 and RFC 4514 as far as a CRL needs them; ldap3's own reader of addresses is the judge."""

from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import cdp
from ansible_collections.certlogon.core.plugins.module_utils.certificates.cdp import HttpCdp, LdapCdp
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st
from ldap3.utils.uri import parse_uri

CRL = "certificateRevocationList"
AD = (
    "ldap://dc1.corp.example/CN=Corp%20CA,CN=ca1,CN=CDP,CN=Public%20Key%20Services,CN=Services,CN=Configuration,DC=corp,DC=example"
    "?certificateRevocationList?base?objectClass=cRLDistributionPoint"
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://crl.corp.example/ca.crl", HttpCdp("http://crl.corp.example/ca.crl")),
        ("HTTPS://crl.corp.example:8443/Corp%20CA.crl", HttpCdp("HTTPS://crl.corp.example:8443/Corp%20CA.crl")),
        ("ldap://dc1/CN=x?certificateRevocationList", LdapCdp(False, "dc1", 389, "CN=x", CRL, "base", "(objectClass=*)")),
        (
            "ldap://dc1/CN=x?certificaterevocationlist;BINARY",
            LdapCdp(False, "dc1", 389, "CN=x", f"{CRL};binary", "base", "(objectClass=*)"),
        ),
        (
            "ldaps://[2001:db8::1]:1636/CN=x,DC=y?deltaRevocationList?subtree?(&(cn=a*)(!(x=%5C28)))",
            LdapCdp(True, "2001:db8::1", 1636, "CN=x,DC=y", "deltaRevocationList", "sub", "(&(cn=a*)(!(x=\\28)))"),
        ),
        ("ldap://dc1/CN=a%5C,b?certificateRevocationList?one", LdapCdp(False, "dc1", 389, "CN=a\\,b", CRL, "one", "(objectClass=*)")),
        ("ldap://dc1/CN=x%3Fy?certificateRevocationList", LdapCdp(False, "dc1", 389, "CN=x?y", CRL, "base", "(objectClass=*)")),
    ],
)
def test_reads(text: str, found: cdp.Cdp) -> None:
    assert cdp.parse(text) == found
    assert cdp.parse(str(found)) == found


def test_reads_what_ad_cs_writes() -> None:
    """Without parentheses around the filter, which RFC 4515 does not allow."""
    found = cdp.parse(AD)
    assert isinstance(found, LdapCdp)
    assert (found.attribute, found.filter) == (CRL, "(objectClass=cRLDistributionPoint)")
    assert found.base.startswith("CN=Corp CA,CN=ca1,CN=CDP,")
    judged = parse_uri(str(found))
    assert (judged["host"], judged["base"], judged["attributes"], judged["scope"], judged["filter"]) == (
        "dc1.corp.example",
        found.base,
        [CRL],
        "BASE",
        "(objectClass=cRLDistributionPoint)",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("ftp://host/ca.crl", "begins with 'ftp', but a CRL is fetched from"),
        ("ldap:dc1/CN=x", "begins with 'ldap', but"),
        ("file:///etc/ca.crl", "begins with 'file'"),
        ("http://host/Corp CA.crl", "write a space as %20"),
        ("http:///ca.crl", "names no server"),
        ("http://user:secret@host/ca.crl", "holds an account"),
        ("http://host:99999/ca.crl", "is no address"),
        ("http://host/%zz.crl", r"has '%zz' in its path"),
        ("ldap:///CN=x?certificateRevocationList", "names no server: .*an appliance has none"),
        ("ldap://dc1", "names no base DN"),
        ("ldap://dc1/?certificateRevocationList", "names no base DN"),
        ("ldap://dc1/CN=x", "names no attribute"),
        ("ldap://dc1/CN=x??base", "names no attribute"),
        ("ldap://dc1/CN=x?certificateRevocationLst", "did you mean certificateRevocationList"),
        ("ldap://dc1/CN=x?cn", "a CRL is in certificateRevocationList"),
        ("ldap://dc1/CN=x?cn,certificateRevocationList", "several attributes"),
        ("ldap://dc1/CN=x?certificateRevocationList;lang-de", "only option"),
        ("ldap://dc1/CN=x?certificateRevocationList?bse", "scope is base, one or sub; did you mean base"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?(cn=x", "not closed"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?(cn=x))", "after the end of its filter"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?(&)", "0 parts after '&'"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?(!(a=b)(c=d))", "2 parts after '!'"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?()", "where attribute=value should be"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?(cn)", "where attribute=value should be"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?(cn=%5Cz)", "two hexadecimal digits"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?(cn%3E=a*)", "a star is only for ="),
        ("ldap://dc1/CN=x?certificateRevocationList?base?" + "(!" * 200, "nested deeper"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?a=b?!x", "critical extension"),
        ("ldap://dc1/CN=x?certificateRevocationList?base?a=b?x?y", "more than five parts"),
        ("ldap://dc1/corp.example?certificateRevocationList", "no attribute=value"),
        ("ldap://dc1/CN=a,b?certificateRevocationList", "no attribute=value"),
        ("ldap://dc1/CN=%FF?certificateRevocationList", "not UTF-8"),
        ("ldap://dc1/CN=x%?certificateRevocationList", r"has '%' in its base DN"),
        ("ldap://dc1:0/CN=x?certificateRevocationList", "port 0"),
        ("ldap://dc 1/CN=x?certificateRevocationList", "write a space"),
        ("ldap://a@dc1/CN=x?certificateRevocationList", "holds an account"),
        ("ldap://dc1_!/CN=x?certificateRevocationList", "no host name"),
        ("http://host/" + "x" * 5000, "longer than 4096"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        cdp.parse(text)


@given(
    st.text(max_size=80)
    | st.builds(
        lambda head, parts: head + "?".join(parts),
        st.sampled_from(["ldap://dc1/", "ldaps://[::1]/CN=x?certificateRevocationList?base?", "ldap://", "http://", "ldap://h:1/CN=x"]),
        st.lists(st.text("()&|!=*\\%,+ab:;5C/[]@.\0é", max_size=24), max_size=5),
    )
)
def test_any_text_is_refused_or_read(text: str) -> None:
    try:
        found = cdp.parse(text)
    except FormatError:
        return
    assert cdp.parse(str(found)) == found
