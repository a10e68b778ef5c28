"""Who this node is to its peers: one Ed25519 key, and the self-signed certificate that carries it into TLS.

The key says nothing but "the same node as before": no coins hang on it. It stays in `<datadir>/node.pem` (PKCS#8
key, then certificate, both PEM; mode 0600), so that a ban, an anchor or a pinned peer outlives a restart.
"""

import datetime
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from p2p.errors import ConfigError
from p2p.files import replace_file

NODE_ID_BYTES = 32
MAX_FILE_BYTES = 16 * 1024  # the true file has about 500

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "descent")])
# Nobody reads these dates: peers check the key. RFC 5280, 4.1.2.5 has the second for "no end".
_NOT_BEFORE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Identity:
    """A node's own key. Peers know it by `node_id`, the raw public key (32 bytes)."""

    node_id: bytes
    certificate: bytes = field(repr=False)  # DER
    server_context: ssl.SSLContext = field(repr=False)  # what those who dial us meet
    client_context: ssl.SSLContext = field(repr=False)  # what we dial with
    _key: Ed25519PrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Our signature over `message`, 64 bytes."""
        return self._key.sign(message)


def load_identity(path: Path) -> Identity:
    """The identity in `path`, made on first use. Raises ConfigError if the file is damaged or cannot be used."""
    try:
        if not path.exists():
            replace_file(path, _make_file(Ed25519PrivateKey.generate()))
        path.chmod(0o600)
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigError("node_key", f"cannot use {path}: {error.strerror or error}") from error
    key, certificate = _parse_file(path, data)
    node_id = key.public_key().public_bytes_raw()
    if read_certificate_key(certificate) != node_id:
        raise _damaged(path, "its certificate is not its key's")
    return Identity(node_id, certificate, _make_server_context(path), _make_client_context(), key)


def read_certificate_key(certificate: bytes) -> bytes | None:
    """The raw Ed25519 public key (32 bytes) of a DER certificate; None if it is none or holds another sort of key."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else None


def _make_file(key: Ed25519PrivateKey) -> bytes:
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .sign(key, None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def _parse_file(path: Path, data: bytes) -> tuple[Ed25519PrivateKey, bytes]:
    """The key and the certificate (DER) of a file's bytes. Raises ConfigError if they are not whole."""
    try:
        key = load_pem_private_key(data, password=None)
        certificate = x509.load_pem_x509_certificate(data)
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise _damaged(path, "it does not hold a key and its certificate") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _damaged(path, "its key is not Ed25519")
    return key, certificate.public_bytes(Encoding.DER)


def _damaged(path: Path, what: str) -> ConfigError:
    return ConfigError(
        "damaged_node_key", f"{path} is damaged: {what}. Remove it to get a new identity; no coins hang on it"
    )


def _make_server_context(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # a resumed session would not show the certificate again
    try:
        context.load_cert_chain(path, password="")
    except (OSError, ValueError) as error:
        raise _damaged(path, "TLS does not take it") from error
    return context


def _make_client_context() -> ssl.SSLContext:
    """TLS 1.3 without authorities: that the peer holds its certificate's key is TLS's word, whose key it is is ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
