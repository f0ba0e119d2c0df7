"""Keys: a master key that never leaves its store, and the signing keys derived from it.

Every ledger has an Ed25519 key of its own (RFC 8032), derived with HKDF-SHA256 (RFC 5869) from the
master key, the lake and tenant as the salt, and the key's generation. So a stranger verifies with
a public key, a tenant's key says nothing of another's, and nothing but the master key is to be
kept.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from affidavit.catalog.ledger.verifier import PublicKey
from affidavit.catalog.store.tables import HEADS
from affidavit.errors import AffidavitError, MasterKeyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from affidavit.catalog.store.protocol import Store

MASTER_KEY_VARIABLE: Final = "AFFIDAVIT_MASTER_KEY"
MASTER_KEY_FILE: Final = "master.key"
KEYS_FOLDER: Final = "keys"
KEY_BYTES: Final = 32
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")


class KeyStore(Protocol):
    """Where the master key is. A key-management service derives without giving it away."""

    def derive(self, salt: bytes, info: bytes) -> bytes:
        """Return 32 bytes that only this master key gives for ``salt`` and ``info``.

        Raises:
            MasterKeyError: The master key is missing or malformed.
        """


class Signer(Protocol):
    """One private key."""

    @property
    def public_key(self) -> PublicKey:
        """Its public half."""

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of ``message``."""


class Signers(Protocol):
    """The private keys of a lake: one a tenant and generation."""

    def signer(self, origin: str, generation: int) -> Signer:
        """Return the key of the ledger ``origin`` in its ``generation``.

        Raises:
            MasterKeyError: There is no master key to derive it from.
        """


def _hkdf(master: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(master)


def _master_key(text: str, where: str) -> bytes:
    # the text itself must not show up in a message: it may be a key with one wrong character
    if not _HEX.fullmatch(text):
        msg = f"{where} must hold a master key of 64 hexadecimal characters; it has {len(text)}"
        msg += " characters" if len(text) != 2 * KEY_BYTES else ", and not all of them are"
        raise MasterKeyError(msg)
    return bytes.fromhex(text)


class EnvKeyStore:
    """The master key in an environment variable, as 64 hexadecimal characters."""

    def __init__(self, variable: str = MASTER_KEY_VARIABLE) -> None:
        self.variable = variable

    def __repr__(self) -> str:
        return f"EnvKeyStore({self.variable!r})"

    def derive(self, salt: bytes, info: bytes) -> bytes:
        """Return a key; see :class:`KeyStore`."""
        text = os.environ.get(self.variable)
        if text is None:
            msg = f"environment variable {self.variable} is not set: it holds the master key"
            raise MasterKeyError(msg)
        return _hkdf(_master_key(text.strip(), self.variable), salt, info)


class FileKeyStore:
    """The master key in a file that its owner alone can read.

    Args:
        folder: The folder, made with mode 0700; the file in it is ``master.key``, mode 0600.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / MASTER_KEY_FILE

    def __repr__(self) -> str:
        return f"FileKeyStore({str(self.folder)!r})"

    def create(self) -> None:
        """Make a master key if there is none; of several processes that do so, one wins.

        Raises:
            MasterKeyError: The folder cannot be made or written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._create()
        except OSError as error:
            msg = f"no master key can be made in {str(self.folder)!r}: {error.strerror}"
            raise MasterKeyError(msg) from error

    def _create(self) -> None:
        aside = self.folder / f".{secrets.token_hex(8)}"
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(aside, self.path)  # whole, or not at all, and never over another's
        except FileExistsError:
            pass
        finally:
            aside.unlink(missing_ok=True)

    def derive(self, salt: bytes, info: bytes) -> bytes:
        """Return a key; see :class:`KeyStore`."""
        try:
            mode = self.path.stat().st_mode
            text = self.path.read_text(encoding="ascii")
        except FileNotFoundError:
            msg = f"there is no master key at {str(self.path)!r}: put the lake's own key back"
            raise MasterKeyError(msg) from None
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the master key at {str(self.path)!r} cannot be read: {type(error).__name__}"
            raise MasterKeyError(msg) from None
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            msg = f"others can read the master key at {str(self.path)!r}: chmod 600 it"
            raise MasterKeyError(msg)
        return _hkdf(_master_key(text.strip(), str(self.path)), salt, info)


class _Ed25519Signer:
    """A derived private key."""

    def __init__(self, origin: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = PublicKey(origin, self._key.public_key().public_bytes_raw())
        self.sign: Callable[[bytes], bytes] = self._key.sign

    def __repr__(self) -> str:
        return f"Signer({self.public_key.key_id})"


class KeyRing:
    """The signing keys of one lake, derived when they are asked for."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    def signer(self, origin: str, generation: int) -> _Ed25519Signer:
        """Return the key of the ledger ``origin`` in its ``generation``.

        Raises:
            MasterKeyError: The key store has no master key, or failed.
        """
        info = f"affidavit ed25519 {generation}".encode()
        try:
            seed = self._store.derive(origin.encode(), info)
            return _Ed25519Signer(origin, seed)
        except AffidavitError:
            raise
        except Exception as error:
            msg = f"{type(self._store).__name__} gave no key: {type(error).__name__}"
            raise MasterKeyError(msg) from error


def key_store_of(given: object, lake: str | os.PathLike[str]) -> KeyStore:
    """Return the key store that a lake is opened with.

    By default the environment's, if it has a master key; else a file of the lake's own.

    Raises:
        MasterKeyError: ``given`` is no key store, or its master key is missing or malformed.
    """
    if given is None and MASTER_KEY_VARIABLE not in os.environ:
        return FileKeyStore(Path(lake).expanduser().absolute() / KEYS_FOLDER)
    store = EnvKeyStore() if given is None else given
    if not callable(getattr(store, "derive", None)):
        msg = f"key_store must have a method derive(salt, info), got {type(store).__name__}"
        raise MasterKeyError(msg)
    if not isinstance(store, FileKeyStore):
        KeyRing(store).signer("probe", 0)  # type: ignore[arg-type]  # it has what was asked for
    return store  # type: ignore[return-value]  # as above


def open_keys(keys: KeyStore, store: Store, *, read_only: bool) -> KeyRing | None:
    """Return the signing keys of a lake; a new lake's key file is made here.

    Args:
        keys: Where the master key is.
        store: The lake's store.
        read_only: Whether nothing may be made.

    ``None`` for a lake that is only read and whose key is elsewhere: it is verified with public
    keys.

    Raises:
        MasterKeyError: The lake was signed with a master key that is no longer there.
    """
    if isinstance(keys, FileKeyStore) and not keys.path.exists():
        if read_only:
            return None
        if not store.tenants(HEADS):
            keys.create()
    ring = KeyRing(keys)
    ring.signer("probe", 0)
    return ring
