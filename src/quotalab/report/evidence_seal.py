"""The manifest of an evidence file, its signature, and the check of both."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from quotalab.errors import InputError
from quotalab.report.text import visible

__all__ = ["MANIFEST", "PUBLIC", "SIGNATURE", "Checked", "Seal", "manifest", "verify"]

MANIFEST, SIGNATURE, PUBLIC = "manifest.json", "manifest.sig", "manifest.pub"
_BESIDE = {MANIFEST, SIGNATURE, PUBLIC}
_MOST_ENTRIES, _MOST_BYTES = 1000, 1 << 28


@dataclass(frozen=True)
class Seal:
    """An Ed25519 key that signs (RFC 8032)."""

    key: Ed25519PrivateKey

    @classmethod
    def load(cls, path: Path) -> Seal:
        """The private key of a PEM file. Raises `InputError`; what the file holds is never in the message."""
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise InputError(f"--sign {path}: cannot be read: {error.strerror or error}") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(
                f"--sign {path}: must be an Ed25519 private key in PEM without a password, as "
                "`openssl genpkey -algorithm ed25519` writes it"
            )
        return cls(key)

    def sign(self, data: bytes) -> bytes:
        """The signature: 64 bytes."""
        return self.key.sign(data)

    @property
    def public(self) -> bytes:
        """The public key, PEM."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def manifest(files: Mapping[str, bytes], run_sha256: str) -> bytes:
    """`manifest.json`: the SHA-256 and the length of every file."""
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(files.items())
    }
    document = {"schema": 1, "what": "quotalab evidence", "ledger_sha256": run_sha256, "files": listed}
    return (json.dumps(document, indent=1) + "\n").encode()


@dataclass(frozen=True)
class Checked:
    """What a check found good."""

    files: int
    ledger_sha256: str
    signer: str | None
    """The SHA-256 of the public key that signed; None: there is no signature."""
    known: bool
    """Whether the signer's key is the one that the caller named."""

    def __str__(self) -> str:
        ledger = visible(self.ledger_sha256) or "not closed"
        text = f"{self.files} files are what the manifest says; ledger {ledger}"
        if self.signer is None:
            return f"{text}\nnot signed: it is whole, but anybody may have made it"
        if self.known:
            return f"{text}\nsigned by the key given, SHA-256 {self.signer}"
        return (
            f"{text}\nsigned by the key with SHA-256 {self.signer}; whose key that is, only its owner can "
            "tell you (--key FILE checks it)"
        )


def verify(path: Path, key: Path | None = None) -> Checked:
    """Check an evidence file against its manifest, and its signature. Nothing is unpacked to disk.

    `key` is the public key that must have signed. Raises `InputError` naming what is wrong.
    """
    wanted = None if key is None else _public(key.read_bytes() if key.is_file() else b"", f"--key {key}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = _sound_names(path, archive)
            files = {name: archive.read(name) for name in names}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: is no whole ZIP file, it is cut off or damaged: {error}") from None
    listed = _listed(path, files)
    _compared(path, files, listed["files"])
    _of_one_run(path, files, listed)
    signer = None
    if SIGNATURE in files:
        public = _public(files.get(PUBLIC, b""), f"{path}: {PUBLIC}")
        used = wanted or public
        try:
            used.verify(files[SIGNATURE], files[MANIFEST])
        except InvalidSignature:
            by = "the key given" if wanted else f"the key in {PUBLIC}"
            raise InputError(f"{path}: {SIGNATURE} is not a signature of the manifest by {by}") from None
        raw = used.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        signer = hashlib.sha256(raw).hexdigest()
    elif wanted is not None:
        raise InputError(f"{path}: is not signed, and --key asks for a signature")
    return Checked(len(listed["files"]), str(listed.get("ledger_sha256", "")), signer, wanted is not None)


def _sound_names(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """The entries' names, none of which leads out of a folder, or is there twice, or is a bomb."""
    infos = archive.infolist()
    if len(infos) > _MOST_ENTRIES or sum(info.file_size for info in infos) > _MOST_BYTES:
        raise InputError(
            f"{path}: has more than {_MOST_ENTRIES:,} entries or {_MOST_BYTES >> 20} MB; evidence has less"
        )
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or not parts:
            raise InputError(f"{path}: the entry {name!r} leads out of the archive: do not unpack it")
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise InputError(f"{path}: the entry {name!r} is a link: do not unpack it")
        if name in seen:
            raise InputError(f"{path}: the entry {name!r} is there twice")
        seen.add(name)
    return sorted(seen)


def _listed(path: Path, files: Mapping[str, bytes]) -> dict[str, Any]:
    if MANIFEST not in files:
        raise InputError(f"{path}: is no evidence file: it has no {MANIFEST}")
    try:
        listed = json.loads(files[MANIFEST])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {MANIFEST} is not JSON: {error}") from None
    good = (
        isinstance(listed, dict) and listed.get("schema") == 1 and listed.get("what") == "quotalab evidence"
    )
    entries = listed.get("files") if good else None
    if not isinstance(entries, dict) or not all(
        isinstance(one, dict) and isinstance(one.get("sha256"), str) for one in entries.values()
    ):
        raise InputError(f"{path}: {MANIFEST} is no manifest of evidence, schema 1")
    return dict(listed)


def _compared(path: Path, files: Mapping[str, bytes], listed: Mapping[str, Any]) -> None:
    for name, said in listed.items():
        if name not in files:
            raise InputError(f"{path}: {visible(name)} is missing, and the manifest has it")
        if hashlib.sha256(files[name]).hexdigest() != said["sha256"] or len(files[name]) != said.get("bytes"):
            raise InputError(
                f"{path}: {visible(name)} was changed: its SHA-256 or length is another in the manifest"
            )
    extra = sorted(files.keys() - listed.keys() - _BESIDE)
    if extra:
        raise InputError(f"{path}: {visible(extra[0])} was added: the manifest does not have it")


def _of_one_run(path: Path, files: Mapping[str, bytes], listed: Mapping[str, Any]) -> None:
    """The ledger that the manifest names is the one that the verdict judged."""
    if "verdict.json" not in files:
        raise InputError(f"{path}: verdict.json is missing, and evidence has one")
    try:
        judged = json.loads(files["verdict.json"])["run"]["ledger_sha256"]
    except (ValueError, RecursionError, LookupError, TypeError):
        raise InputError(f"{path}: verdict.json is no verdict of quotalab's") from None
    if (judged or "") != (listed.get("ledger_sha256") or ""):
        raise InputError(f"{path}: {MANIFEST} names another ledger than verdict.json judged")


def _public(data: bytes, where: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{where}: must be an Ed25519 public key in PEM")
    return key
