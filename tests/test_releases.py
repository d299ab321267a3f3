"""What is new: the changelog as it is installed, and a newer version that waits for a restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pages import Pages

import byway
from byway.admin.releases import VersionFile, parse_changelog, read_releases
from byway.ui import news, page

TEXT = """\
# Changelog

An introduction.

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added

Batches
- Batches of messages: up to
  100,000 requests ([batches](docs/batches.md)).
- `byway batch list`.

Files
- A file API.

### Fixed
- An **error** of `a*b*c`, see [the docs](https://example.org).

## [0.1.0] - 2026-11-01

### Added
- Everything <script>.
"""


def test_releases_have_their_notes_by_topic() -> None:
    unreleased, new, old = parse_changelog(TEXT)
    assert (unreleased.version, unreleased.notes) == ("Unreleased", ())
    assert (new.version, new.date) == ("0.2.0", "2026-12-01")
    assert [note.heading for note in new.notes] == ["Added: Batches", "Added: Files", "Fixed"]
    assert new.notes[0].changes == (
        "Batches of messages: up to 100,000 requests ([batches](docs/batches.md)).",
        "`byway batch list`.",
    )
    assert old.notes[0].changes == ("Everything <script>.",)


def test_a_change_is_shown_without_links_and_marks() -> None:
    _, new, _ = parse_changelog(TEXT)
    assert news.plain(new.notes[0].changes[0]) == "Batches of messages: up to 100,000 requests."
    assert news.plain(new.notes[2].changes[0]) == "An error of `a*b*c`, see the docs."


def test_the_changelog_is_installed_with_the_package() -> None:
    releases = read_releases()
    assert releases and releases[0].notes


def test_a_link_that_was_checked_out_as_a_file_is_followed(tmp_path: Path) -> None:
    package = tmp_path / "src" / "byway"
    package.mkdir(parents=True)
    (tmp_path / "CHANGELOG.md").write_text(TEXT)
    (package / "CHANGELOG.md").write_text("../../CHANGELOG.md")
    assert len(read_releases(package)) == 3
    assert read_releases(tmp_path / "none") == ()


def test_the_version_on_the_disk_is_read_when_it_changes(tmp_path: Path) -> None:
    versions = VersionFile(tmp_path)
    assert versions.installed() == byway.__version__
    file = tmp_path / "__init__.py"
    file.write_text('"""Byway."""\n\n__version__ = "9.1.0"\n')
    assert versions.installed() == "9.1.0"
    file.write_text('"""Byway."""\n\n__version__ = "9.2.0"\n')
    os.utime(file, (1, 1))
    assert versions.installed() == "9.2.0"


def test_an_upgrade_is_noticed_on_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages(tmp_path)
    assert "is installed. This process runs" not in pages.get("/models").text
    (tmp_path / "__init__.py").write_text('__version__ = "9.9.0"\n')
    for module in (page, news):
        monkeypatch.setattr(module, "INSTALLED", VersionFile(tmp_path))
    text = pages.get("/models").text
    assert f"Byway 9.9.0 is installed. This process runs {byway.__version__}" in text and "Restart Byway" in text
    sent = pages.get("/news")
    assert "restart to run 9.9.0" in sent.text and "<script>alert" not in sent.html
    pages.close()
