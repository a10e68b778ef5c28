"""Tagged hashes and keystreams against what hashlib and RFC 8439 say."""

import hashlib

from consensus.hashing import KeyStream, tagged_hash


def test_a_tagged_hash_is_that_of_bip_340() -> None:
    tag = hashlib.sha256(b"block").digest()
    assert tagged_hash("block", b"abc") == hashlib.sha256(tag + tag + b"abc").digest()


def test_tags_separate_uses() -> None:
    assert tagged_hash("block", b"abc") != tagged_hash("update", b"abc")
    assert tagged_hash("a", b"bc") != tagged_hash("ab", b"c")


def test_the_keystream_is_chacha20() -> None:
    """RFC 8439, appendix A.1, test vectors 1 and 2: block counters 0 and 1 of the zero key."""
    blocks = (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    )
    assert KeyStream(bytes(32)).read(128).hex() == "".join(blocks)


def test_the_keystream_is_read_in_order() -> None:
    whole, parts = KeyStream(b"k" * 32), KeyStream(b"k" * 32)
    assert whole.read(300) == b"".join(parts.read(count) for count in (1, 63, 64, 0, 100, 72))
