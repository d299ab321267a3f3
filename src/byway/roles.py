"""The roles of accounts, and what each one may do: the only place that decides it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, get_args

from byway.scopes import SCOPES, Scope

Role = Literal["owner", "member", "viewer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
#: The organization of an account for which none is given, and of a caller without an account.
DEFAULT_ORGANIZATION: Final = "default"


class RolePermissions(NamedTuple):
    """What an account with a role may do, with a key or with a login of the settings page."""

    scopes: tuple[Scope, ...]
    """The scopes that its keys may have. Other scopes of a key have no effect."""
    sees_all: Scope | None
    """The scope with which it may read what belongs to other accounts, the settings, the audit log and the state of this
    Byway; None when it may not."""
    changes_all: Scope | None
    """The scope with which it may change the settings, and what belongs to other accounts; None when it may not."""
    changes_own: bool
    """It may create, rotate and revoke keys of its own."""
    description: str


PERMISSIONS: Final[dict[Role, RolePermissions]] = {
    "owner": RolePermissions(SCOPES, "admin", "admin", True, "may do everything"),
    "member": RolePermissions(
        ("read", "write", "files"),
        None,
        None,
        True,
        "uses models; sees and changes only its own keys, usage and requests",
    ),
    "viewer": RolePermissions(
        ("read",), "read", None, False, "sees what an owner sees, without secrets and prompts, and changes nothing"
    ),
}


def allowed_scopes(role: Role, scopes: Sequence[str]) -> tuple[str, ...]:
    """The scopes of a key that an account with this role can use."""
    return tuple(scope for scope in scopes if scope in PERMISSIONS[role].scopes)


def sees_all(role: Role | Literal[""], scopes: Sequence[str]) -> bool:
    """May a caller read what belongs to other accounts, and the settings? `role` is "" for a caller without an account."""
    scope = PERMISSIONS[role].sees_all if role else "admin"
    return scope is not None and scope in scopes


def changes_all(role: Role | Literal[""], scopes: Sequence[str]) -> bool:
    """May a caller change the settings, and what belongs to other accounts?"""
    scope = PERMISSIONS[role].changes_all if role else "admin"
    return scope is not None and scope in scopes


def changes_own(role: Role | Literal[""]) -> bool:
    """May a caller create, rotate and revoke keys of its own account?"""
    return PERMISSIONS[role].changes_own if role else False
