"""What libpq makes of a URL: the servers it connects to, the files it reads, and what is not said.

The names are those of PostgreSQL's documentation, 34.1.2 "Parameter Key Words" and 34.15
"Environment Variables".
"""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import unquote, urlsplit

from affidavit.catalog.sources.address import Address, Wanted
from affidavit.catalog.sources.url import joined
from affidavit.errors import SourceError

_PORT: Final = 5432
_FILES: Final = frozenset({"sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir"})
_HARMLESS: Final = frozenset({
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "gssencmode", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "load_balance_hosts", "options", "require_auth", "ssl_max_protocol_version",
    "ssl_min_protocol_version", "sslcertmode", "sslmode", "sslnegotiation", "sslsni",
    "target_session_attrs", "tcp_user_timeout", "user",
})  # fmt: skip
_ELSEWHERE: Final = ("PGSERVICE", "PGHOSTADDR")
"""Variables that lead somewhere else than a URL says, which nothing in it undoes."""

_ALONE: Final = {
    "passfile": "/dev/null/none", "gssencmode": "disable", "sslcertmode": "disable",
    "application_name": "affidavit", "options": "", "sslmode": "prefer",
    "client_encoding": "UTF8", "target_session_attrs": "any", "channel_binding": "prefer",
}  # fmt: skip


def wanted(url: str) -> Wanted:
    """Return what a URL would have libpq reach."""
    parts = urlsplit(url)
    options = _options(parts.query)
    where = parts.netloc.rpartition("@")[2]
    ports = options.get("port", "") or _ports(where)  # the option goes before what the host says
    names = [options.get("host", ""), options.get("hostaddr", "")]
    names.append(",".join(host for host, _ in _hosts(where)))
    hosts = [each for listed in names for each in _paired(listed, ports)]
    files = [value for key, value in options.items() if key in _FILES and value != "system"]
    known = _FILES | _HARMLESS | {"host", "hostaddr", "port"}
    refused = [key for key in options if key not in known]
    if not hosts or any(not host or host[0] in "/@" for host, _ in hosts):
        refused.append("a host that is the process's own")
    addresses = [Address("postgresql", host, port) for host, port in hosts]
    return Wanted(tuple(addresses), tuple(files), tuple(refused))


def alone(url: str, password: str | None) -> str:
    """Return a URL for which libpq uses nothing of the process: no variable, no file of its user.

    Raises:
        SourceError: It says no user or database, or a variable leads elsewhere all the same.
    """
    parts = urlsplit(url)
    options = _options(parts.query)
    if not parts.username or not parts.path.removeprefix("/"):
        msg = "this session uses nothing of the process: the URL must say the user and database"
        raise SourceError(msg)
    for variable in _ELSEWHERE:
        if os.environ.get(variable):
            msg = f"this session uses nothing of the process, and {variable} is set in it"
            raise SourceError(msg)
    added = dict(_ALONE)
    if "sslcert" in options:
        added["sslcertmode"] = "allow"
    if not password:
        added["password"] = ""
    given = [f"{key}={value}" for key, value in added.items() if key not in options]
    query = "&".join([*filter(None, [parts.query]), *given])
    return joined(parts.scheme, parts.netloc, parts.path, query)


def _options(query: str) -> dict[str, str]:
    pairs = (each.partition("=") for each in query.split("&") if each)
    return {unquote(key).lower(): unquote(value) for key, _, value in pairs}


def _hosts(where: str) -> list[tuple[str, int]]:
    """Return each host and port of a URL; there may be several, with commas between."""
    found = []
    for each in where.split(",") if where else ():
        host, port = each, ""
        if not each.endswith("]") and ":" in each:
            host, _, port = each.rpartition(":")
        found.append((unquote(host).strip("[]"), _port(port)))
    return found


def _ports(where: str) -> str:
    return ",".join(str(port) for _, port in _hosts(where))


def _paired(hosts: str, ports: str) -> list[tuple[str, int]]:
    names = hosts.split(",") if hosts else []
    given = ports.split(",") if ports else [""]
    several = given * len(names) if len(given) == 1 else given + [""] * len(names)
    return [(host, _port(port)) for host, port in zip(names, several, strict=False)]


def _port(text: str) -> int:
    if not text:
        return _PORT
    if not text.isdecimal():
        msg = "the source's URL has a port that is no number"
        raise SourceError(msg)
    return int(text)
