"""What the role of an account allows."""

from __future__ import annotations

from byway.roles import PERMISSIONS, ROLES, allowed_scopes
from byway.scopes import SCOPES


def test_every_role_has_permissions() -> None:
    assert tuple(PERMISSIONS) == ROLES


def test_only_an_owner_changes_settings_and_has_keys_with_the_scope_admin() -> None:
    assert [role for role in ROLES if PERMISSIONS[role].changes_all] == ["owner"]
    assert [role for role in ROLES if "admin" in PERMISSIONS[role].scopes] == ["owner"]


def test_the_role_takes_scopes_from_a_key_and_adds_none() -> None:
    assert allowed_scopes("owner", SCOPES) == SCOPES
    assert allowed_scopes("member", SCOPES) == ("read", "write", "files")
    assert allowed_scopes("viewer", SCOPES) == ("read",)
    assert allowed_scopes("member", ("read",)) == ("read",)
