"""Where a MariaDB or MySQL server is, as ODBC is told."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from affidavit.catalog.sources.address import Address, Wanted
from affidavit.errors import SourceError

_PORT: Final = 3306
_OPTIONS: Final = {
    "unix_socket": "SOCKET", "ssl_ca": "SSLCA", "ssl_capath": "SSLCAPATH", "ssl_cert": "SSLCERT",
    "ssl_key": "SSLKEY", "ssl_cipher": "SSLCIPHER", "ssl_verify": "SSLVERIFY",
    "force_tls": "FORCETLS", "tls_version": "TLSVERSION", "connect_timeout": "CONN_TIMEOUT",
    "read_timeout": "READ_TIMEOUT", "plugin_dir": "PLUGIN_DIR",
}  # fmt: skip
_TLS: Final = {key for key in _OPTIONS if key.startswith("ssl_")} | {"force_tls", "tls_version"}
_FILES: Final = frozenset({"ssl_ca", "ssl_capath", "ssl_cert", "ssl_key"})
_OF_THE_PROCESS: Final = frozenset({"unix_socket", "plugin_dir"})
_NO: Final = {"", "0", "no", "off", "false"}


def connection_string(url: str, password: str | None) -> str:
    """Return all of a connection string but the driver's name.

    Raises:
        SourceError: The URL has an option that is not known.
    """
    parts = urlsplit(url)
    pairs = {
        "SERVER": parts.hostname or "localhost",
        "PORT": str(parts.port or _PORT),
        "DATABASE": unquote(parts.path.removeprefix("/")),
        "UID": unquote(parts.username or ""),
        "PWD": password or "",
        "CHARSET": "utf8mb4",
        "CONN_TIMEOUT": "10",
    }
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in _OPTIONS:
            msg = f"the URL has the option {key!r}; those of MySQL are {sorted(_OPTIONS)}"
            raise SourceError(msg)
        pairs[_OPTIONS[key]] = value
    if asks_for_tls(url):  # a version alone, say, asks for nothing yet
        pairs["FORCETLS"] = "1"
    if "SOCKET" in pairs:
        del pairs["SERVER"], pairs["PORT"]
    return "".join(f"{key}={braced(value)};" for key, value in pairs.items() if value)


def wanted(url: str) -> Wanted:
    """Return what a URL would have the ODBC driver reach."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    files = (value for key, value in options.items() if key in _FILES)
    refused = (key for key in options if key in _OF_THE_PROCESS)
    address = Address("mysql", parts.hostname or "localhost", parts.port or _PORT)
    return Wanted((address,), tuple(files), tuple(refused))


def asks_for_tls(url: str) -> bool:
    """Return whether a URL asks for TLS: whether an option of it does not say no."""
    given = parse_qsl(urlsplit(url).query)
    return any(key in _TLS and value.lower() not in _NO for key, value in given)


def braced(value: str) -> str:
    """Return a value as it stands in a connection string, whatever is in it."""
    return "{" + value.replace("}", "}}") + "}"
