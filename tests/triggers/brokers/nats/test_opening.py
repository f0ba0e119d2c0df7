"""Opening a NATS broker: what is refused, and secrets that are never shown."""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.nats_log import ORDERS, Waking
from tests.support.nats_server import NatsServer, free_port

from affidavit.errors import BrokerError
from affidavit.triggers.brokers.nats.broker import NatsBroker

if TYPE_CHECKING:
    from pathlib import Path


# --- opening --------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_named(log) -> None:
    port = free_port()
    began = time.monotonic()
    with pytest.raises(BrokerError, match=f"127.0.0.1:{port}"):
        NatsBroker(f"nats://127.0.0.1:{port}", log, connect_timeout_s=2.0)
    assert time.monotonic() - began < 5.0


def test_a_server_that_hangs_is_given_up(server, log) -> None:
    server.pause()
    with pytest.raises(BrokerError, match=f"{server.address}.*0.5 s"):
        NatsBroker(server.url, log, connect_timeout_s=0.5)


@pytest.mark.server
def test_a_server_without_jetstream_is_refused(tmp_path, log) -> None:
    with NatsServer(tmp_path, jetstream=False) as server:
        with pytest.raises(BrokerError, match=f"{server.address} has no JetStream"):
            NatsBroker(server.url, log)


def test_without_the_library_the_error_says_what_to_install(monkeypatch, log) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(BrokerError, match=r"pip install 'affidavit\[nats\]'"):
        NatsBroker("nats://127.0.0.1:4222", log)


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:4222", "http://h:4222", "nats://", "nats://:4222", "nats://user:hush@",
        "nats://user:hu/sh@host:4222", "nats://user:12#hush@host", "nats://host:hush",
        "nats://host:99999", "nats://user:hush@host:4222/path", "nats://[::1",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str, log) -> None:
    with pytest.raises(BrokerError, match="expected a NATS address") as caught:
        NatsBroker(url, log)
    assert "hush" not in str(caught.value)


# --- secrets --------------------------------------------------------------------------------------


def said(error: BaseException | None) -> str:
    """Return everything that an error and its causes say."""
    found = ""
    while error is not None:
        found += f"{error!s} {error!r} "
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.server
@pytest.mark.parametrize(
    ("options", "right", "wrong"),
    [
        (("--user", "ann", "--pass", "hush@1/2"), "ann:hush%401%2F2", "ann:hush-no"),
        (("--auth", "hush.token"), "hush.token", "hush-no"),
    ],
)
def test_secrets_are_used_and_never_shown(tmp_path, log, caplog, options, right, wrong) -> None:
    caplog.set_level(logging.DEBUG)
    with NatsServer(tmp_path, *options) as server:
        for credentials in (wrong + "@", ""):
            with pytest.raises(BrokerError, match=server.address) as caught:
                NatsBroker(f"nats://{credentials}{server.address}", log)
            assert "hush" not in said(caught.value)
        broker = NatsBroker(f"nats://{right}@{server.address}", log)
        assert repr(broker) == f"NatsBroker('{server.address}')"
        assert "hush" not in repr(vars(broker))
        woken = Waking()
        broker.listen(ORDERS, woken)
        woken.wait_past(0)
        before = woken.count
        server.restart()
        woken.wait_past(before)
        server.kill()
        with pytest.raises(BrokerError) as caught:
            NatsBroker(f"nats://{right}@{server.address}", log)
        broker.close()
    assert "hush" not in said(caught.value)
    assert "hush" not in caplog.text


def test_tls_is_insisted_on(server, log) -> None:
    """nats-py would send the password in plain text to a server that does not ask for TLS."""
    for credentials in ("", "ann:hush@", "hush@"):
        with pytest.raises(BrokerError, match="secure connection") as caught:
            NatsBroker(f"tls://{credentials}{server.address}", log)
        assert "hush" not in said(caught.value)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(encoding))
    key_path.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


@pytest.mark.server
def test_tls_works_with_a_certificate_that_is_trusted_only(tmp_path, log, monkeypatch) -> None:
    cert, key = certificate(tmp_path)
    options = (
        "--tls",
        "--tlscert",
        str(cert),
        "--tlskey",
        str(key),
        "--user",
        "ann",
        "--pass",
        "x",
    )
    with NatsServer(tmp_path, *options) as server:
        url = f"tls://ann:x@{server.address}"
        with pytest.raises(BrokerError, match="certificate verify failed"):
            NatsBroker(url, log)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        broker = NatsBroker(url, log)
        woken = Waking()
        broker.listen(ORDERS, woken)
        woken.wait_past(0)
        before = woken.count
        server.restart()
        woken.wait_past(before)
        broker.close()
