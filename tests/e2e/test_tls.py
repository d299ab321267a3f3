"""https as other programs see it: openssl, a killed process, the official SDK and the command `byway tls`."""

from __future__ import annotations

import datetime
import signal
import subprocess
import sys
from pathlib import Path

from waiting import wait_until

from byway.tls import authority as local
from byway.tls import certificates
from byway.tls.trust import trust_file

NOW = datetime.datetime.now(datetime.UTC)


def test_openssl_refuses_certificates_for_other_sites(tmp_path: Path) -> None:
    authority = local.ensure_authority(tmp_path, ["box"], NOW)

    def verify(name: str, addresses: list[str]) -> str:
        leaf = tmp_path / "leaf.pem"
        leaf.write_bytes(certificates.issue(authority, [name], addresses, NOW))
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(trust_file(tmp_path)), str(leaf)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert "leaf.pem: OK" in verify("box", ["127.0.0.1", "10.0.0.1", "::1"])
    for name, address in (
        ("example.com", "127.0.0.1"),
        ("box.example.com", "::1"),
    ):
        assert "permitted subtree violation" in verify(name, [address])


def test_a_kill_while_an_authority_is_written_leaves_a_whole_one_or_none(tmp_path: Path) -> None:
    code = (
        "import sys, datetime; from pathlib import Path; from byway.tls import authority\n"
        "now = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)\n"
        "for number in range(100000):\n"
        "    authority.ensure_authority(Path(sys.argv[1]) / str(number), ['box'], now)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "20").exists())
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    folders = list(tmp_path.iterdir())
    assert len(folders) > 20
    for folder in folders:
        assert local.load_authority(folder) is not None or folder == max(folders, key=lambda path: int(path.name))
        authority = local.ensure_authority(folder, ["box"], NOW)
        local.write_trust(folder, authority)
        assert trust_file(folder).read_bytes() == authority.pem
