"""Domain lists and normalized URLs: what is equal, what a list covers, what is rejected."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable

import pytest
from growth import assert_linear
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
def test_entry_covers_its_host_its_subdomains_and_its_path(entry: str, url: str, expected: bool | None) -> None:
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
        (["a.example"] * 1001, None, "allowed_domains: has 1,001 entries; the limit is 1,000"),
        (["example.com"], [], ""),
        (None, None, ""),
    ],
)
def test_invalid_list_is_reported_with_its_path(
    allowed: list[str] | None, blocked: list[str] | None, words: str
) -> None:
    error = domains_error(allowed, blocked)
    assert words in error
    assert bool(error) == bool(words)


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
def test_url_is_normalized(text: str, form: str) -> None:
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
def test_reference_is_resolved_against_its_page(reference: str, form: str) -> None:
    assert str(urls.join(urls.parse("https://example.com/a/"), reference)) == form


@pytest.mark.parametrize(
    "reference", ["file:///etc/passwd", "java\tscript:x", "http:\\\\a", "//u@h/", "ftp://a/", "a b"]
)
def test_unsafe_reference_is_rejected(reference: str) -> None:
    with pytest.raises(ValueError, match=r"contains|must"):
        urls.join(urls.parse("https://example.com/a/"), reference)


@given(st.text(max_size=80) | st.from_regex(r"https?://[0-9a-fx.:%@\[\]/?#\\]{0,40}", fullmatch=True))
def test_normalizing_twice_changes_nothing(text: str) -> None:
    try:
        url = urls.parse(text)
    except ValueError:
        return
    assert urls.parse(str(url)) == url
    assert str(url).isascii()
    assert str(url).isprintable()
    assert url.number is None or url.number == ipaddress.ip_address(url.host)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "https://example.com" + "/a" * n,
        lambda n: "https://example.com" + "/.." * n,
        lambda n: "https://example.com/" + "%7e" * n,
        lambda n: "https://example.com/?" + "ü" * n,
    ],
    ids=["segments", "dot segments", "escapes", "query"],
)
def test_parsing_a_url_is_linear(make: Callable[[int], str]) -> None:
    def parse(text: str) -> None:
        with contextlib.suppress(ValueError):
            urls.parse(text)

    assert_linear(make, parse, 1 << 15)


@pytest.mark.parametrize("host", ["a." * 1_000_000 + "example.com", "ü" * 1_000_000 + ".example.com"])
def test_long_host_is_rejected_before_it_is_encoded(host: str) -> None:
    with pytest.raises(ValueError, match="invalid host name"):
        urls.parse(f"https://{host}/")


def test_filtering_is_linear_in_entries_and_in_urls() -> None:
    """The host is looked up: twice the entries do not double the work for each URL."""

    def filter_all(size: int) -> int:
        domains = DomainFilter([f"host{at}.example/a" for at in range(size)], None)
        return sum(domains.permits(urls.parse(f"https://www.host{at}.example/a/b")) for at in range(size))

    assert filter_all(100) == 100
    assert_linear(lambda size: size, filter_all, 100)


@pytest.mark.parametrize("pattern", ["/*a/b", "/" + "*a" * 20 + "/b"])
def test_matching_a_path_with_stars_is_linear(pattern: str) -> None:
    domains = DomainFilter([f"example.com{pattern}"], None)
    assert_linear(lambda n: urls.parse("https://example.com/" + "a" * n), domains.permits, 1 << 15)
