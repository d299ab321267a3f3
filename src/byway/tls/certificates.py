"""Makes and reads X.509 certificates. Needs the package cryptography, so other modules import this one only when it is used.

The authority is limited to Byway's names by critical name constraints (RFC 5280, section 4.2.1.10,
https://www.rfc-editor.org/rfc/rfc5280, seen 2026-11-30): its key certifies no other host name. Addresses are limited to private
ones by Byway alone.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Addresses that the authority may certify: loopback, private, link-local, and those of Tailscale and other carrier NATs.
PRIVATE_NETWORKS: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)
#: Days for which the authority and its certificates are valid. Apple's systems accept certificates of up to 825 days
#: (https://support.apple.com/en-us/103769, seen 2026-11-30).
AUTHORITY_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 800
#: A clock that is a day slow must not reject a new certificate.
_EARLIER: Final = datetime.timedelta(days=1)


class CertificateError(Exception):
    """A certificate or key cannot be used: why, as a sentence without a file name."""


class CertificateInfo(NamedTuple):
    """What a certificate contains."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    starts: datetime.datetime
    ends: datetime.datetime
    fingerprint: str
    """SHA-256 of the certificate in hexadecimal digits, as Claude Code keeps it."""
    issuer: str


class Authority(NamedTuple):
    """The local authority."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @property
    def pem(self) -> bytes:
        """The certificate alone: what clients trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def permits(self, name: str) -> bool:
        """May it certify this host name or address?"""
        try:
            return is_private(name)
        except ValueError:
            pass
        constraints = self.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        return any(_contains(tree, name) for tree in constraints.permitted_subtrees or ())


def new_authority(host: str, names: Sequence[str], now: datetime.datetime) -> bytes:
    """Key and certificate of a new authority, in PEM. It may certify `names`, names below these, and private addresses.

    Its constraints contain no addresses: Claude Code rejects any certificate with an address then (its BoringSSL:
    UNSUPPORTED_CONSTRAINT_TYPE; measured, 2.1.329).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Byway"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Byway local CA of {host} {now:%Y-%m-%d}"[:64]),
        ]
    )
    trees: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .add_extension(x509.NameConstraints(trees, None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def read_authority(pem: bytes) -> Authority:
    """The authority of a text by `new_authority`. Raises CertificateError."""
    chain, key = read_pair(pem, pem, "")
    certificate = chain[0]
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca or not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("it is not an authority that Byway has made")
    return Authority(certificate, key)


def issue(authority: Authority, names: Sequence[str], addresses: Sequence[str], now: datetime.datetime) -> bytes:
    """Key and certificate for these names and addresses, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    ends = min(now + datetime.timedelta(days=CERTIFICATE_DAYS), authority.certificate.not_valid_after_utc)
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        x509.CertificateBuilder()
        # No common name: clients that read one would compare it with the constraints too.
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Byway")]))
        .issuer_name(authority.certificate.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return _key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def read_pair(chain: bytes, key: bytes, passphrase: str) -> tuple[list[x509.Certificate], PrivateKeyTypes]:
    """The certificates of a PEM text, and the key that belongs to the first one. Raises CertificateError."""
    certificates = read_chain(chain)
    private = _read_key(key, passphrase)
    if private.public_key() != certificates[0].public_key():
        raise CertificateError(
            "the key does not belong to the certificate. When the file has a chain, the certificate of the server comes first"
        )
    return certificates, private


def read_chain(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM text; at least one. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError("it contains no certificate in PEM format") from None


def describe(certificate: x509.Certificate) -> CertificateInfo:
    """What a certificate contains. Raises CertificateError."""
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(alternatives.get_values_for_type(x509.DNSName))
        addresses = tuple(str(address) for address in alternatives.get_values_for_type(x509.IPAddress))
    except x509.ExtensionNotFound:
        pass
    except ValueError:
        raise CertificateError("its extensions cannot be read") from None
    return CertificateInfo(
        names,
        addresses,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.fingerprint(hashes.SHA256()).hex(),
        certificate.issuer.rfc4514_string(),
    )


def is_issued_by(certificate: x509.Certificate, authority: Authority) -> bool:
    """Has this authority signed the certificate?"""
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_private(address: str) -> bool:
    """May the authority certify this address? Raises ValueError for a name."""
    number = ipaddress.ip_address(address)
    return any(number in network for network in PRIVATE_NETWORKS)


def _contains(tree: x509.GeneralName, name: str) -> bool:
    return isinstance(tree, x509.DNSName) and (name == tree.value or name.endswith(f".{tree.value}"))


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_key(pem: bytes, passphrase: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem, passphrase.encode() or None)
    except TypeError:
        # It is encrypted and there is no passphrase, or the other way round.
        if passphrase:
            return _read_key(pem, "")
        raise CertificateError("the key is encrypted. Set `server.tls.key_passphrase`") from None
    except (ValueError, UnsupportedAlgorithm):
        if passphrase:
            raise CertificateError(
                "the key cannot be read: the passphrase is wrong, or it is not a private key in PEM format"
            ) from None
        raise CertificateError("it contains no private key in PEM format") from None
