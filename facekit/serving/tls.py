"""The certificate of an encrypted gRPC endpoint: checked before a start, and trusted by probes."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.errors import ServerError, ServerUnavailableError, SetupError

# What gRPC speaks over TLS; a server of it refuses a handshake without.
_PROTOCOLS = ["h2"]


TlsState = tuple[tuple[int, int, int], ...]
"""Tells other files from those that were there before; empty while one is missing."""


@dataclass(frozen=True)
class Tls:
    """PEM files of a server: its certificate, followed by those that sign it, and its key."""

    certificate: Path
    key: Path

    def arguments(self) -> list[str]:
        """Return the options of ``tritonserver``."""
        return [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={self.certificate}",
            f"--grpc-server-key={self.key}",
        ]

    def state(self) -> TlsState:
        """Return what changes with the files."""
        try:
            found = [file.stat() for file in (self.certificate, self.key)]
        except OSError:
            return ()
        return tuple((file.st_mtime_ns, file.st_size, file.st_ino) for file in found)

    def name(self) -> str:
        """Return a name that the certificate is for, after checking that it works with the key.

        Raises:
            SetupError: a file can't be read, the two don't belong together, or the certificate is
                not valid now; the message names the file.
        """
        for file in (self.certificate, self.key):
            try:
                file.read_bytes()
            except OSError as error:
                raise SetupError(
                    f"TLS: {file} can't be read by user {os.geteuid()}: {error.strerror}. In a "
                    f"container it lies in the mounted folder (FACEKIT_TLS_DIR, ./tls) and must be "
                    f"that user's: chown {os.geteuid()} FILE"
                ) from error
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password it would ask the terminal for the one of an encrypted key.
            server.load_cert_chain(self.certificate, self.key, password="")
        except (ssl.SSLError, ValueError) as error:
            raise SetupError(
                f"TLS: the certificate {self.certificate} and the key {self.key} don't work "
                f"together: {_reason(error)}. Both must be PEM, the key without a password."
            ) from error
        return _certified_name(_handshake(server, self.certificate), self.certificate)


def certified_name(url: str, certificate: Path, timeout_s: float) -> str:
    """Return a name that a server's certificate is for, if it is the one that is trusted.

    gRPC compares the name with the one it calls, and a health check calls ``localhost``.

    Args:
        url: ``host:port`` of the gRPC endpoint.
        certificate: the PEM file of the server's certificate, or of who signed it.
        timeout_s: what connecting may take.

    Raises:
        ServerError: nobody listens, it is not encrypted, or has another certificate.
        SetupError: the file can't be used.
    """
    host, _, port = url.rpartition(":")
    context = _client_context(certificate)
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout_s) as plain,
            context.wrap_socket(plain) as encrypted,
        ):
            return _certified_name(encrypted.getpeercert() or {}, certificate)
    except ssl.SSLCertVerificationError as error:
        raise ServerError(
            f"{url} is not trusted by {certificate}: {error.verify_message}"
        ) from error
    except ssl.SSLError as error:
        raise ServerUnavailableError(f"{url} is not encrypted: {_reason(error)}") from error
    except OSError as error:
        raise ServerUnavailableError(
            f"{url} could not answer: {error.strerror or error}"
        ) from error


def _client_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Exactly this certificate is trusted, whatever name it carries, and whether or not the one
    # that signed it is in the file.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(_PROTOCOLS)
    try:
        context.load_verify_locations(certificate)
    except (OSError, ssl.SSLError) as error:
        raise SetupError(
            f"TLS: {certificate} can't be read as a PEM certificate: {_reason(error)}."
        ) from error
    return context


def _handshake(server: ssl.SSLContext, certificate: Path) -> dict[str, Any]:
    """Let a client that trusts the certificate meet the server in memory."""
    server.set_alpn_protocols(_PROTOCOLS)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        _client_context(certificate).wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    try:
        # Each needs what the other has written; TLS is done within three turns.
        for _ in range(4):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        return dict(ends[0].getpeercert() or {})
    except ssl.SSLCertVerificationError as error:
        raise SetupError(
            f"TLS: the certificate {certificate} is not valid: {error.verify_message}."
        ) from error
    except (ssl.SSLError, ValueError) as error:
        raise SetupError(f"TLS: {certificate} does not work: {_reason(error)}.") from error


def _certified_name(fields: dict[str, Any], certificate: Path) -> str:
    names = [value for kind, value in fields.get("subjectAltName", ()) if kind == "DNS"]
    for kind, value in fields.get("subjectAltName", ()):
        if kind == "IP Address":
            # OpenSSL writes IPv6 out in full, and gRPC compares with the short form.
            names.append(str(ipaddress.ip_address(value.strip())))
    for part in fields.get("subject", ()):
        names += [value for kind, value in part if kind == "commonName"]
    if not names:
        raise SetupError(
            f"TLS: the certificate {certificate} carries no name (subjectAltName), and no client "
            f"would trust it."
        )
    # A name with a wildcard stands for others, and not for itself.
    return str(names[0]).replace("*", "any")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or error).replace("_", " ").lower()
