"""Authority: who signs the certificates by which this server and its machines know each other. Only this file knows cryptography."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from squall.model.access import SERVER_NAME
from squall.model.errors import InvalidError
from squall.model.ids import NODE, NodeId, is_id
from squall.settings.whole_file import write_whole

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 397  # more than this is refused by some TLS libraries
NODE_DAYS: Final = 30
_RENEWED_BEFORE: Final = 30
_SKEW: Final = datetime.timedelta(hours=3)  # a machine's clock may be behind

_SIGNS: Final = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a machine gets that may come: its certificate and the authority's, PEM, and what it is called."""

    node: NodeId
    certificate: bytes
    authority: bytes


class Authority:
    """The authority of one server, its files in one directory; made by `open_authority`."""

    def __init__(self, directory: Path) -> None:
        self.certificate_file = directory / "authority.crt"
        self.server_certificate_file = directory / "server.crt"
        self.server_key_file = directory / "server.key"
        self._key_file = directory / "authority.key"

    @property
    def certificate(self) -> bytes:
        """The authority's certificate, PEM."""
        return self.certificate_file.read_bytes()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate (DER), hexadecimal: by it a token's holder knows the server."""
        return self._own().fingerprint(hashes.SHA256()).hex()

    def sign_node(self, request: bytes, node: NodeId, *, now_s: float) -> Enrolled:
        """A certificate for the key of a signing request (PEM), for this node and NODE_DAYS.

        Raises InvalidError for what is no request, or one that its own key has not signed.
        """
        try:
            asked = x509.load_pem_x509_csr(request)
            signed = asked.is_signature_valid
        except ValueError as problem:
            raise InvalidError(f"this is no request for a certificate: {problem}") from problem
        if not signed:
            raise InvalidError("the request for a certificate is not signed by its own key")
        names = [x509.UniformResourceIdentifier(f"squall:node:{node}")]
        draft = _draft(str(node), asked.public_key(), now_s, NODE_DAYS)
        return Enrolled(
            node, _pem(self._issue(draft, names, ExtendedKeyUsageOID.CLIENT_AUTH)), self.certificate
        )

    def _issue(
        self, draft: x509.CertificateBuilder, names: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier
    ) -> x509.Certificate:
        """A certificate below the authority, as strict readers want it (RFC 5280)."""
        key = self._key()
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        draft = draft.issuer_name(self._own().subject).add_extension(own, critical=False)
        draft = draft.add_extension(x509.SubjectAlternativeName(names), critical=False)
        draft = draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        draft = draft.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return _signed(draft, key)

    def _own(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)

    def _key(self) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(self._key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "it was made here"
        return key

    def make_own(self, now_s: float) -> None:
        """Makes the authority's own key and certificate, where there are none."""
        if self.certificate_file.exists() and self._key_file.exists():
            return
        key = _new_key()
        draft = _draft("Squall authority", key.public_key(), now_s, AUTHORITY_DAYS)
        draft = draft.issuer_name(_name("Squall authority"))
        draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        draft = draft.add_extension(_SIGNS, critical=True)
        # The key first: a certificate without it would be believed for ever.
        write_whole(self._key_file, _private_pem(key))
        write_whole(self.certificate_file, _pem(_signed(draft, key)))

    def renew_server(self, names: tuple[str, ...], now_s: float) -> None:
        """Makes the server's certificate for SERVER_NAME and these names and addresses, where there is none that will do."""
        if self._serves(names, now_s):
            return
        key = _new_key()
        every = [_general_name(name) for name in (SERVER_NAME, *names)]
        draft = _draft("Squall server", key.public_key(), now_s, SERVER_DAYS)
        certificate = self._issue(draft, every, ExtendedKeyUsageOID.SERVER_AUTH)
        write_whole(self.server_key_file, _private_pem(key))
        write_whole(self.server_certificate_file, _pem(certificate))

    def _serves(self, names: tuple[str, ...], now_s: float) -> bool:
        try:
            known = x509.load_pem_x509_certificate(self.server_certificate_file.read_bytes())
            key = load_pem_private_key(self.server_key_file.read_bytes(), None)
            found = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, x509.ExtensionNotFound):
            return False
        left = known.not_valid_after_utc - datetime.timedelta(days=_RENEWED_BEFORE)
        return (
            left > _instant(now_s)
            and known.issuer == self._own().subject
            and key.public_key() == known.public_key()
            and {_general_name(name) for name in (SERVER_NAME, *names)} <= set(found)
        )


def open_authority(directory: Path, names: tuple[str, ...], *, now_s: float) -> Authority:
    """The authority whose files are in `directory`, made there at first; the server's certificate is good for `names`.

    Raises OSError.
    """
    authority = Authority(directory)
    authority.make_own(now_s)
    authority.renew_server(names, now_s)
    return authority


def node_of(certificate: bytes) -> NodeId | None:
    """Which node a verified client certificate (DER) is of; None where it is of none."""
    try:
        found = x509.load_der_x509_certificate(certificate).extensions
        names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    for name in names.get_values_for_type(x509.UniformResourceIdentifier):
        node = name.removeprefix("squall:node:")
        if node != name and is_id(node, NODE):
            return NodeId(node)
    return None


def key_of(request: bytes) -> str:
    """What a signing request's key is known by: SHA-256 of its public key, hexadecimal. Raises InvalidError."""
    try:
        public = x509.load_pem_x509_csr(request).public_key()
    except ValueError as problem:
        raise InvalidError(f"this is no request for a certificate: {problem}") from problem
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _draft(name: str, key: CertificatePublicKeyTypes, now_s: float, days: int) -> x509.CertificateBuilder:
    now = _instant(now_s)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key)
        .serial_number(int.from_bytes(os.urandom(16), "big") | 1)
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _signed(draft: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return draft.sign(key, hashes.SHA256())


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _instant(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
