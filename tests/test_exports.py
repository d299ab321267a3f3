"""The printed exports for shells that the tests do not run."""

from __future__ import annotations

from byway.admin import exports
from byway.admin.exports import ClientSetup


def test_fish_and_powershell_values_are_quoted() -> None:
    assert exports.fish([("A", "it's \\ here")]) == "set -gx A 'it\\'s \\\\ here'"
    assert exports.powershell([("A", "it's $here")]) == "$env:A = 'it''s $here'"


def test_variables_beside_a_forwarded_login_have_no_key_or_token() -> None:
    setup = ClientSetup("http://127.0.0.1:38080", client_credential=True)
    assert (
        not {"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"}
        & dict(exports.variables(setup)).keys()
    )
    setup = setup._replace(key_required=True)
    pairs = exports.variables(setup)
    assert dict(pairs)["ANTHROPIC_CUSTOM_HEADERS"] == "x-byway-key: YOUR-KEY"
    assert "ANTHROPIC_API_KEY" not in dict(pairs)
    assert "export ANTHROPIC_CUSTOM_HEADERS='x-byway-key: YOUR-KEY'" in exports.bash(pairs)
    assert '-H "$ANTHROPIC_CUSTOM_HEADERS"' in exports.curl(setup)[0]


def test_clients_of_https_get_the_file_that_they_have_to_trust() -> None:
    setup = ClientSetup("https://127.0.0.1:38080", trust="/home/ada/my data/tls/ca.pem")
    pairs = dict(exports.variables(setup))
    assert pairs["NODE_EXTRA_CA_CERTS"] == "/home/ada/my data/tls/ca.pem"
    assert "curl --cacert '/home/ada/my data/tls/ca.pem' https://127.0.0.1:38080/" in exports.curl(setup)[0]
    assert "NODE_EXTRA_CA_CERTS" not in dict(exports.variables(setup._replace(trust="")))
