"""Tokens at rest: one encrypted file a person, replaced whole."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

__all__ = ["TokenStore", "Tokens"]


@dataclass(frozen=True)
class Tokens:
    """What the token endpoint gave; `expires_ns` by the app's own clock."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_ns: int
    scope: str


class TokenStore:
    """Keeps each person's tokens under a key that is never written beside them.

    `key` is a Fernet key (AES-128-CBC and HMAC-SHA256). Read once, tokens are held in memory too.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._fernet = Fernet(key)
        self._held: dict[str, Tokens | None] = {}

    def _file(self, person: str) -> Path:
        return self._folder / f"{sha256(person.encode()).hexdigest()[:32]}.token"

    def get(self, person: str) -> Tokens | None:
        """The person's tokens; None where there are none, or the key does not fit."""
        if person not in self._held:
            self._held[person] = self._read(person)
        return self._held[person]

    def _read(self, person: str) -> Tokens | None:
        try:
            return Tokens(**json.loads(self._fernet.decrypt(self._file(person).read_bytes())))
        except (FileNotFoundError, InvalidToken):
            return None

    def put(self, person: str, tokens: Tokens) -> None:
        """Keep new tokens; after a crash the file holds the old ones or the new ones, whole."""
        file = self._file(person)
        part = f"{file}.part"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, self._fernet.encrypt(json.dumps(asdict(tokens)).encode()))
        finally:
            os.close(descriptor)
        os.replace(part, file)
        self._held[person] = tokens

    def forget(self, person: str) -> None:
        """Delete the person's tokens."""
        self._file(person).unlink(missing_ok=True)
        self._held[person] = None
