"""TLS: who trusts whom between machines, as contexts of the standard library."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from pathlib import Path

from squall.model.errors import PeerNotTrusted


def server_context(cert_file: str | Path, key_file: str | Path, ca_file: str | Path) -> ssl.SSLContext:
    """What a server listens with: TLS 1.3 alone, and certificates of clients, where they give one, by our own CA.

    cert_file, key_file, ca_file: PEM. Raises OSError (ssl.SSLError among them) for files that are none.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    context.load_verify_locations(ca_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    # A session that is taken up again would come without its certificate being looked at anew.
    context.num_tickets = 0
    return context


def client_context(
    ca_file: str | Path | None = None,
    *,
    ca_pem: str | None = None,
    cert_file: str | Path | None = None,
    key_file: str | Path | None = None,
    check_name: bool = True,
) -> ssl.SSLContext:
    """What a client dials with: TLS 1.3 alone, to servers whose certificate is by our own CA and by no other.

    ca_file or ca_pem: the CA's certificate. cert_file, key_file: the client's own, where it has one (PEM).
    check_name: whether the certificate must name the host that was dialed. Raises OSError for files that are none.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=ca_file, cadata=ca_pem)
    context.check_hostname = check_name
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file)
    return context


def pinned_context() -> ssl.SSLContext:
    """What dials a server of which only the fingerprint of its CA is known: nothing is verified.

    On such a connection nothing secret may be said. What it is for: ask the server for its CA's certificate, hold it
    against the fingerprint with `verify_pin`, then dial again with `client_context(ca_pem=pem_of(certificate))`.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fingerprint(certificate: bytes) -> str:
    """The SHA-256 of `certificate` (DER), 64 hexadecimal digits."""
    return hashlib.sha256(certificate).hexdigest()


def verify_pin(certificate: bytes | None, expected: str) -> bytes:
    """`certificate` (DER), once its fingerprint is `expected`; colons and large letters in that are allowed.

    Raises PeerNotTrusted otherwise, and for None.
    """
    found = fingerprint(certificate) if certificate is not None else "none"
    wanted = expected.replace(":", "").strip().lower()
    if certificate is None or not hmac.compare_digest(found.encode(), wanted.encode()):
        raise PeerNotTrusted(f"the certificate has the fingerprint {found}, and {wanted} was expected")
    return certificate


def pem_of(certificate: bytes) -> str:
    """`certificate` (DER) as PEM."""
    return ssl.DER_cert_to_PEM_cert(certificate)


def der_of(certificate: str) -> bytes:
    """The first certificate in PEM text, as DER. Raises ValueError when there is none."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    _, _, rest = certificate.partition(begin)
    body, found, _ = rest.partition(end)
    if not found:
        raise ValueError("there is no certificate in this text")
    return ssl.PEM_cert_to_DER_cert(begin + body + end)


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
