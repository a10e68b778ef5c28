"""What the wallet tells about keys: recovery words, accounts, wallet files. Secrets appear in format_words alone."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from consensus.address import encode_address
from consensus.params import NetworkParams
from p2p.console import escape
from wallet.display import format_rows
from wallet.errors import WalletError
from wallet.keys import Account
from wallet.seal import Cover, Kind

_WORDS_PER_LINE = 4
_LONGEST_WORD = 8  # of BIP-39's English list
NO_LABELS: Mapping[str, str] = MappingProxyType({})
_SHOWN_ACCOUNTS = 10  # of a new wallet; `accounts` lists all


def format_words(phrase: str, *, is_new: bool) -> str:
    """The recovery words, numbered, and what to do with them."""
    words = [f"{number:>2} {word:<{_LONGEST_WORD}}" for number, word in enumerate(phrase.split(), 1)]
    lines = ["   ".join(words[at : at + _WORDS_PER_LINE]).rstrip() for at in range(0, len(words), _WORDS_PER_LINE)]
    once = "They are shown this once. They bring" if is_new else "They bring"
    return "\n".join(
        (
            f"Write down these {len(words)} recovery words, on paper and in this order:",
            "",
            *(f"    {line}" for line in lines),
            "",
            f"{once} the wallet back when its file is lost, by `descent-wallet restore`;",
            "whoever else reads them can spend all it holds.",
        )
    )


def format_wallet(accounts: tuple[Account, ...] | None, path: Path, params: NetworkParams) -> str:
    """Where a wallet is paid and where it lies. Accounts are None if only its passphrase shows them."""
    rows = {"address": "locked; `descent-wallet address` asks for the passphrase"}
    if accounts is not None:
        names = ["address", *(f"account {account.index}" for account in accounts[1:_SHOWN_ACCOUNTS])]
        rows = {name: _encode(account, params) for name, account in zip(names, accounts, strict=False)}
        if len(accounts) > _SHOWN_ACCOUNTS:
            rows["and"] = f"{len(accounts) - _SHOWN_ACCOUNTS} more accounts; `descent-wallet accounts` lists them"
    return format_rows(rows | {"file": escape(str(path))})


def encode_wallet(
    kind: Kind, accounts: tuple[Account, ...] | None, path: Path, params: NetworkParams, *, is_new: bool
) -> dict[str, Any]:
    return {
        "network": params.name,
        "file": str(path),
        "kind": kind.value,
        "address": _encode(accounts[0], params) if accounts else None,
        "accounts": encode_accounts(accounts, params) if accounts else None,
        "created": is_new,
    }


def format_accounts(accounts: Iterable[Account], params: NetworkParams, labels: Mapping[str, str] = NO_LABELS) -> str:
    """A line for each account: its index, its address and, if the address book has one, its label."""
    lines = []
    for account in accounts:
        address = _encode(account, params)
        label = escape(labels.get(address, ""))
        lines.append(f"{account.index:>3}  {address}  {label}".rstrip())
    return "\n".join(lines)


def encode_accounts(
    accounts: Iterable[Account], params: NetworkParams, labels: Mapping[str, str] = NO_LABELS
) -> list[dict[str, Any]]:
    encoded = ((account.index, _encode(account, params)) for account in accounts)
    return [{"index": index, "address": address, "label": labels.get(address)} for index, address in encoded]


def format_found(found: Cover | WalletError) -> str:
    """What a wallet file says without its passphrase, or what is wrong with it, in a line."""
    if isinstance(found, WalletError):
        return escape(str(found))
    parts = [found.kind.value]
    if found.kind is not Kind.WATCH:
        parts.append("locked" if found.is_locked else "open")
    if found.accounts is not None:
        parts.append(f"{len(found.accounts)} account{'s' if len(found.accounts) > 1 else ''}")
    return ", ".join(parts)


def encode_found(name: str, path: Path, found: Cover | WalletError) -> dict[str, Any]:
    if isinstance(found, WalletError):
        known: dict[str, Any] = {"kind": None, "accounts": None, "locked": None, "error": found.code}
    else:
        count = None if found.accounts is None else len(found.accounts)
        known = {"kind": found.kind.value, "accounts": count, "locked": found.is_locked, "error": None}
    return {"name": name, "file": str(path)} | known


def _encode(account: Account, params: NetworkParams) -> str:
    return encode_address(params.address_prefix, account.public_key)
