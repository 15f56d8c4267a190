from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.urls.targets import Target, UrlRules, parse_target, shorten
from hffs.errors import AccessError, FetchError, HffsError
from hffs.view.codecs.reading import MAX_ENCODED_BYTES

RULES = UrlRules()
HTTP = UrlRules(allow_http=True)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.org/x.jpg", Target("https", "a.org", 443, "/x.jpg")),
        ("HTTPS://A.ORG", Target("https", "a.org", 443, "/")),
        ("  https://a.org/x\n", Target("https", "a.org", 443, "/x")),
        ("https://a.org:8443/x?y=1#z", Target("https", "a.org", 8443, "/x?y=1")),
        ("https://a.org/a b/ü%20c", Target("https", "a.org", 443, "/a%20b/%C3%BC%20c")),
        ("https://bücher.de/x", Target("https", "xn--bcher-kva.de", 443, "/x")),
        ("https://[2606:2800::1]:444443/", None),
        ("https://[2606:2800::1]/x", Target("https", "2606:2800::1", 443, "/x")),
        ("https://a_b.org/x", Target("https", "a_b.org", 443, "/x")),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target | None) -> None:
    if target is None:
        with pytest.raises(FetchError, match="not a URL"):
            parse_target(url, RULES)
    else:
        assert parse_target(url, RULES) == target


@pytest.mark.parametrize(
    ("url", "kind", "why"),
    [
        ("http://a.org/x.jpg", AccessError, "http URLs are not fetched; allow them with"),
        ("file:///etc/passwd", FetchError, "not a URL"),
        ("ftp://a.org/x", AccessError, "ftp URLs"),
        ("gopher://a.org/x", AccessError, "gopher URLs"),
        ("//a.org/x", AccessError, "such URLs"),
        ("https://user@a.org/", AccessError, "a user name"),
        ("https://user:secret@a.org/", AccessError, "a user name"),
        ("https://@a.org/", AccessError, "a user name"),
        ("https://a.org:25/", AccessError, "port 25"),
        ("https://a.org:22/", AccessError, "port 22"),
        ("https://a.org:0/", AccessError, "port 0"),
        ("https://a.org:99999/", FetchError, "not a URL"),
        ("https://a.org:x/", FetchError, "not a URL"),
        ("https:///x.jpg", FetchError, "not a URL"),
        ("https://", FetchError, "not a URL"),
        ("https://a.org\\@b.org/", FetchError, "no URL may have"),
        ("https://a.org/\r\nHost: b", FetchError, "no URL may have"),
        ("https://a.org/\x00", FetchError, "no URL may have"),
        ("https://a\tb.org/", FetchError, "no URL may have"),
        ("https://a b.org/", FetchError, "not a URL"),
        ("https://a.org%2f@b/", AccessError, "a user name"),
        ("https://[::1%25eth0]/", FetchError, "not a URL"),
        ("https://[v1.x]/", FetchError, "not a URL"),
        ("https://[::1/", FetchError, "not a URL"),
        ("https://" + "a" * 64 + ".org/", FetchError, "not a URL"),
        ("https://a.org/" + "a" * 9000, FetchError, "longer than 8192"),
        ("https://a.org/\ud800", FetchError, "not a URL"),
    ],
)
def test_what_may_not_be_asked_is_refused(url: str, kind: type[HffsError], why: str) -> None:
    with pytest.raises(HffsError, match=why) as refused:
        parse_target(url, RULES)
    assert type(refused.value) is kind
    assert len(str(refused.value)) < 400


def test_rules_allow_more() -> None:
    assert parse_target("http://a.org/x", HTTP).port == 80
    assert parse_target("https://a.org:25/", UrlRules(allow_private=True)).port == 25


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/y", "https://a.org:8443/y"),
        ("y", "https://a.org:8443/d/y"),
        ("//b.org/y", "https://b.org/y"),
        ("http://b.org/", "http://b.org/"),
        ("file:///etc/passwd", "file:///etc/passwd"),
    ],
)
def test_redirects_are_relative_to_where_they_come_from(location: str, url: str) -> None:
    assert parse_target("https://a.org:8443/d/x?q", RULES).join(location) == url


@given(st.text(max_size=60))
def test_wherever_a_redirect_leads_is_a_url_or_a_refusal(location: str) -> None:
    try:
        parse_target(Target("https", "a.org", 443, "/x").join(location), RULES)
    except (AccessError, FetchError):
        return


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_url_is_what_is_sent_is_one_line_of_ascii(host: str, path: str) -> None:
    try:
        target = parse_target(f"https://{host}/{path}", RULES)
    except (AccessError, FetchError):
        return
    sent = target.path + target.authority
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent
    assert parse_target(f"https://{target.authority}{target.path}", RULES) == target


def test_messages_show_no_long_query_nor_control_characters() -> None:
    assert shorten("https://a.org/x?y=1") == "https://a.org/x?y=1"
    assert shorten("https://a.org/x?token=" + "s" * 300) == "https://a.org/x"
    assert len(shorten("https://a.org/" + "x" * 300)) < 170
    assert shorten("https://a.org/\x1b[31m") == "https://a.org/?[31m"


def test_the_limit_is_that_of_rendering() -> None:
    assert UrlRules().max_bytes == MAX_ENCODED_BYTES
