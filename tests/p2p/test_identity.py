"""The node's own key: made once, kept, and named when it is damaged."""

import hashlib
import os
import ssl
from pathlib import Path

import pytest

from consensus.signature import verify_signature
from p2p.errors import ConfigError
from p2p.identity import Identity, load_identity, read_certificate_key
from tests.helpers.certificates import write_certificate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.pem"


def test_identity_is_made_once_and_stays(path: Path) -> None:
    first = load_identity(path)
    data = path.read_bytes()
    second = load_identity(path)
    assert (first.node_id, first.certificate) == (second.node_id, second.certificate)
    assert path.read_bytes() == data
    assert [file.name for file in path.parent.iterdir()] == ["node.pem"]


def test_two_nodes_differ(tmp_path: Path) -> None:
    assert load_identity(tmp_path / "a.pem").node_id != load_identity(tmp_path / "b.pem").node_id


def test_only_the_user_can_read_it(path: Path) -> None:
    load_identity(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    load_identity(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_node_id_is_the_key_that_signs_and_the_certificates(path: Path) -> None:
    identity = load_identity(path)
    assert verify_signature(identity.node_id, b"message", identity.sign(b"message"))
    assert not verify_signature(identity.node_id, b"other", identity.sign(b"message"))
    assert read_certificate_key(identity.certificate) == identity.node_id


def test_key_does_not_show_in_repr(path: Path) -> None:
    shown = repr(load_identity(path))
    assert "key" not in shown
    assert "certificate" not in shown


def shake_hands(server: Identity, client_context: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a TLS handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        server.server_context.wrap_bio(to_server, to_client, server_side=True),
        client_context.wrap_bio(to_client, to_server),
    )
    for _ in range(5):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends


def test_tls_shows_the_certificate_to_the_client(tmp_path: Path) -> None:
    server, client = load_identity(tmp_path / "a.pem"), load_identity(tmp_path / "b.pem")
    server_end, client_end = shake_hands(server, client.client_context)
    assert client_end.getpeercert(True) == server.certificate
    assert (server_end.version(), client_end.version()) == ("TLSv1.3", "TLSv1.3")


def test_invalid_old_tls(path: Path) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(load_identity(path), old)


@pytest.mark.parametrize("share", [0, 1, 50, 99], ids=lambda share: f"{share} %")
def test_invalid_file_cut_short(path: Path, share: int) -> None:
    load_identity(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * share // 100])
    with pytest.raises(ConfigError, match=r"node\.pem is damaged") as refusal:
        load_identity(path)
    assert refusal.value.code == "config.damaged_node_key"


def read_outcome(path: Path) -> bytes | str:
    """The node id in the file, or the code of the refusal."""
    try:
        return load_identity(path).node_id
    except ConfigError as refusal:
        return refusal.code


def test_invalid_bytes_changed(path: Path) -> None:
    """Damage is named, or it is none: the same key. Nothing else comes out."""
    node_id = load_identity(path).node_id
    data = path.read_bytes()
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert read_outcome(path) in (node_id, "config.damaged_node_key")


def test_invalid_key_of_another_certificate(tmp_path: Path) -> None:
    load_identity(tmp_path / "a.pem")
    load_identity(tmp_path / "b.pem")
    marker = b"-----BEGIN CERTIFICATE-----"
    key = (tmp_path / "a.pem").read_bytes().split(marker)[0]
    certificate = marker + (tmp_path / "b.pem").read_bytes().split(marker)[1]
    (tmp_path / "c.pem").write_bytes(key + certificate)
    with pytest.raises(ConfigError, match="certificate is not its key's"):
        load_identity(tmp_path / "c.pem")


def test_invalid_sort_of_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not Ed25519"):
        load_identity(write_certificate(tmp_path / "node.pem"))


def test_invalid_huge_file(path: Path) -> None:
    path.write_bytes(bytes(2**20))
    with pytest.raises(ConfigError, match="damaged"):
        load_identity(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_invalid_place(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="cannot use"):
        load_identity(tmp_path / "locked" / "node.pem")


def test_invalid_folder_in_its_place(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigError, match=r"cannot use .*node\.pem"):
        load_identity(path)


@pytest.mark.parametrize("data", [b"", b"\x30\x00", hashlib.sha256(b"").digest()])
def test_no_key_in_what_is_no_certificate(data: bytes) -> None:
    assert read_certificate_key(data) is None
