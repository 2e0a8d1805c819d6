"""Trust exactly one certificate of an encrypted server, whatever its name."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from typing import Any

from facekit.errors import ServerError, ServerUnavailableError, SetupError

ALPN_PROTOCOLS = ["h2"]
"""The protocol of gRPC over TLS; its servers refuse a handshake without it."""


def certified_name(url: str, certificate: str | os.PathLike[str], timeout_s: float) -> str:
    """Return a name in a server's certificate, if it is the trusted one.

    gRPC compares this name with the host that it connects to, which may be another.

    Args:
        url: ``host:port`` of the gRPC endpoint.
        certificate: PEM file of the server's certificate, or of its issuer.
        timeout_s: Seconds that connecting may take.

    Raises:
        ServerError: Nobody listens, it is not encrypted, or has another certificate.
        SetupError: The file cannot be used.
    """
    host, _, port = url.rpartition(":")
    context = pinned_context(certificate)
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout_s) as plain,
            context.wrap_socket(plain) as encrypted,
        ):
            return name_in_certificate(encrypted.getpeercert() or {}, certificate)
    except ssl.SSLCertVerificationError as error:
        raise ServerError(
            f"{url} is not trusted by {certificate}: {error.verify_message}"
        ) from error
    except ssl.SSLError as error:
        raise ServerUnavailableError(f"{url} is not encrypted: {tls_reason(error)}") from error
    except OSError as error:
        raise ServerUnavailableError(
            f"{url} could not answer: {error.strerror or error}"
        ) from error


def pinned_context(certificate: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return the TLS settings of a client that trusts this certificate alone.

    Raises:
        SetupError: The file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # It is trusted whether or not its issuer is in the file.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(ALPN_PROTOCOLS)
    try:
        context.load_verify_locations(certificate)
    except (OSError, ssl.SSLError) as error:
        raise SetupError(
            f"TLS: {certificate} cannot be read as a PEM certificate: {tls_reason(error)}."
        ) from error
    return context


def name_in_certificate(fields: dict[str, Any], certificate: str | os.PathLike[str]) -> str:
    """Return a name that a certificate is for.

    Args:
        fields: As ``SSLSocket.getpeercert`` returns them.
        certificate: Its file, for the message.

    Raises:
        SetupError: It carries no name.
    """
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
            "would trust it."
        )
    # A name with a wildcard is not itself a host name.
    return str(names[0]).replace("*", "any")


def tls_reason(error: Exception) -> str:
    """Return what OpenSSL or the system says is wrong, in lower case."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or error).replace("_", " ").lower()
