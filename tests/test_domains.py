"""Domain lists and the one form of an address: what counts as the same, what is covered, what is refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byway import urls
from byway.domains import DomainFilter, domains_error, parse_domain

COVERED = [
    ("example.com", "https://example.com/", True),
    ("example.com", "http://docs.example.com:8080/a?b", True),
    ("example.com", "https://notexample.com/", False),
    ("example.com", "https://example.com.evil.org/", False),
    ("example.com", "https://evil.org/example.com", False),
    ("EXAMPLE.com.", "https://Example.COM./", True),
    ("docs.example.com", "https://docs.example.com/x", True),
    ("docs.example.com", "https://example.com/x", False),
    ("docs.example.com", "https://api.example.com/x", False),
    ("example.com/blog", "https://example.com/blog", True),
    ("example.com/blog/", "https://example.com/blog/post-1", True),
    ("example.com/blog", "https://a.example.com/blog?page=2", True),
    ("example.com/blog", "https://example.com/blogger", False),
    ("example.com/blog", "https://example.com/a/blog", False),
    ("example.com/blog", "https://example.com/blog/../admin", False),
    ("example.com/blog", "https://example.com/blog/%2e%2e/admin", False),
    ("example.com/blog", "https://example.com/%62log/x", True),
    ("example.com/blog", "https://example.com//blog", True),
    ("example.com/*", "https://example.com/anything/at/all", True),
    ("example.com/*/articles", "https://example.com/en/articles/7", True),
    ("example.com/*/articles", "https://example.com/en/articlesome", False),
    ("example.com/*/articles", "https://example.com/en/articlesome/articles", True),
    ("example.com/*/a/*/b", "https://example.com/x/a/y/b/z", True),
    ("example.com/*/a/*/b", "https://example.com/x/b/y/a", False),
    ("bücher.example", "https://xn--bcher-kva.example/", True),
    ("amazon.com", "https://\u0430mazon.com/", False),
    ("93.184.216.34", "https://93.184.216.34/", True),
    ("184.216.34", "https://93.184.216.34/", None),
]


@pytest.mark.parametrize(("entry", "url", "expected"), COVERED)
def test_an_entry_covers_its_host_all_below_it_and_its_path(entry: str, url: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="not a domain"):
            parse_domain(entry)
        return
    assert DomainFilter([entry], []).permits(urls.parse(url)) is expected
    assert DomainFilter(None, [entry]).permits(urls.parse(url)) is not expected


def test_empty_lists_restrict_nothing() -> None:
    url = urls.parse("https://example.com/")
    assert DomainFilter(None, None).permits(url)
    assert DomainFilter([], []).permits(url)


@pytest.mark.parametrize(
    ("allowed", "blocked", "words"),
    [
        (["a.example"], ["b.example"], "allowed_domains: cannot be used together with blocked_domains"),
        (["a.example", "https://b.example"], [], "allowed_domains.1: 'https://b.example' must not start with http://"),
        ([], ["*.example.com"], "blocked_domains.0: '*.example.com' must not have * in the domain"),
        (["ex*.com"], None, "must not have *"),
        (["example.com:8443"], None, "must not have a port"),
        (["example.com:80"], None, "must not have a port"),
        (["user@example.com"], None, "must be a domain"),
        (["example.com?x"], None, "must be a domain"),
        ([""], None, "is not a domain"),
        (["exa mple.com"], None, "is not a domain"),
        (["example.com"], [], ""),
        (None, None, ""),
    ],
)
def test_what_is_wrong_with_the_lists_is_said_with_its_place(
    allowed: list[str] | None, blocked: list[str] | None, words: str
) -> None:
    found = domains_error(allowed, blocked)
    assert words in found
    assert bool(found) == bool(words)


SAME = [
    ("HTTPS://Example.COM:443", "https://example.com/"),
    ("http://example.com:80/a#part", "http://example.com/a"),
    ("http://example.com:8080?q=1", "http://example.com:8080/?q=1"),
    ("https://example.com./a/./b/../c", "https://example.com/a/c"),
    ("https://example.com/a/..", "https://example.com/"),
    ("https://example.com/../../etc", "https://example.com/etc"),
    ("https://example.com/%7euser/%e4%b8%ad", "https://example.com/~user/%E4%B8%AD"),
    ("https://example.com/中?q=ü", "https://example.com/%E4%B8%AD?q=%C3%BC"),
    ('https://example.com/"<>`{}', "https://example.com/%22%3C%3E%60%7B%7D"),
    ("https://bücher.example/", "https://xn--bcher-kva.example/"),
    ("https://example。com/", "https://example.com/"),
    ("http://[2001:DB8:0:0::1]/", "http://[2001:db8::1]/"),
    ("http://127.0.0.1:9/", "http://127.0.0.1:9/"),
    ("http://127.0.0.1/", "http://127.0.0.1/"),
]


@pytest.mark.parametrize(("text", "form"), SAME)
def test_an_address_has_one_form(text: str, form: str) -> None:
    assert str(urls.parse(text)) == form
    assert urls.parse(form) == urls.parse(text)


@pytest.mark.parametrize(
    ("reference", "form"),
    [
        ("/b", "https://example.com/b"),
        ("b?x#y", "https://example.com/a/b?x"),
        ("//other.example/c", "https://other.example/c"),
        ("http://other.example", "http://other.example/"),
        ("../../..", "https://example.com/"),
    ],
)
def test_a_reference_is_read_beside_its_page(reference: str, form: str) -> None:
    assert str(urls.join(urls.parse("https://example.com/a/"), reference)) == form


@pytest.mark.parametrize(
    "reference", ["file:///etc/passwd", "java\tscript:x", "http:\\\\a", "//u@h/", "ftp://a/", "a b"]
)
def test_a_reference_that_leads_astray_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match=r"holds|must"):
        urls.join(urls.parse("https://example.com/a/"), reference)


@given(st.text(max_size=80) | st.from_regex(r"https?://[0-9a-fx.:%@\[\]/?#\\]{0,40}", fullmatch=True))
def test_whatever_is_read_stays_what_it_is(text: str) -> None:
    try:
        found = urls.parse(text)
    except ValueError:
        return
    assert urls.parse(str(found)) == found
    assert str(found).isascii()
    assert str(found).isprintable()
    assert found.number is None or found.number == ipaddress.ip_address(found.host)
