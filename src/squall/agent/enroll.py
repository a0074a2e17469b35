"""Enroll: a machine's own key, and the requests by which a server signs it. Only this file of the agent knows cryptography."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

RENEWED_AFTER: Final = 0.5
"""The part of its life after which a certificate is renewed."""


def new_key() -> bytes:
    """A private key (PEM) that never leaves this machine."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_request(key: bytes, name: str) -> bytes:
    """A request (PEM) to sign this private key (PEM) for a machine of that name. Raises ValueError for what is no such key."""
    private = serialization.load_pem_private_key(key, None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("the key of a machine is one on an elliptic curve")  # noqa: TRY004 - what it holds is wrong, not its type
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64] or "node")])
    draft = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return draft.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def is_due(certificate: bytes, now_s: float) -> bool:
    """Whether a certificate (PEM) is to be renewed at that instant, in seconds since 1970."""
    known = x509.load_pem_x509_certificate(certificate)
    begins, ends = known.not_valid_before_utc, known.not_valid_after_utc
    return datetime.fromtimestamp(now_s, UTC) >= begins + (ends - begins) * RENEWED_AFTER
