"""What is kept of a name that was erased: a salted hash, which tells the name again and does not give it away."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "erased:"  # of what stands where a name stood
_SALT_BYTES = 16


def make_salt() -> str:
    """A new one, so that two hashes of one name have nothing in common."""
    return secrets.token_hex(_SALT_BYTES)


def hash_name(salt: str, name: str) -> str:
    """sha256 of salt and name, in hexadecimal digits."""
    return hashlib.sha256(f"{salt}\n{name}".encode()).hexdigest()


def make_pseudonym(name: str) -> str:
    """What takes the place of the name in a column; another one each time."""
    salt = make_salt()
    return f"{PREFIX}{salt}:{hash_name(salt, name)}"


def is_pseudonym_of(kept: str, name: str) -> bool:
    """Whether the value of such a column was made from this name."""
    if not kept.startswith(PREFIX):
        return False
    salt, _, digest = kept.removeprefix(PREFIX).partition(":")
    return hash_name(salt, name) == digest
