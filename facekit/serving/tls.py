"""The certificate of an encrypted gRPC endpoint, checked before a start."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.client.tls import ALPN_PROTOCOLS, name_in_certificate, pinned_context, tls_reason
from facekit.errors import SetupError

TlsState = tuple[tuple[int, int, int], ...]
"""Identifies the versions of both files; empty while one is missing."""


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
        """Return what changes with the files: time of change, size and inode of each."""
        try:
            found = [file.stat() for file in (self.certificate, self.key)]
        except OSError:
            return ()
        return tuple((file.st_mtime_ns, file.st_size, file.st_ino) for file in found)

    def name(self) -> str:
        """Return a name that the certificate is for, after checking that it works with the key.

        A SetupError names a file that can't be read, does not belong to the other, or is not valid
        now.
        """
        for file in (self.certificate, self.key):
            try:
                file.read_bytes()
            except OSError as error:
                raise SetupError(
                    f"TLS: {file} cannot be read by user {os.geteuid()}: {error.strerror}. In a "
                    f"container it lies in the mounted folder (FACEKIT_TLS_DIR, ./tls) and must be "
                    f"that user's: chown {os.geteuid()} FILE"
                ) from error
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password it would ask the terminal for the one of an encrypted key.
            server.load_cert_chain(self.certificate, self.key, password="")
        except (ssl.SSLError, ValueError) as error:
            raise SetupError(
                f"TLS: the certificate {self.certificate} and the key {self.key} do not work "
                f"together: {tls_reason(error)}. Both must be PEM, the key without a password."
            ) from error
        return name_in_certificate(_handshake(server, self.certificate), self.certificate)


def _handshake(server: ssl.SSLContext, certificate: Path) -> dict[str, Any]:
    """Let a client that trusts the certificate meet the server in memory."""
    server.set_alpn_protocols(ALPN_PROTOCOLS)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        pinned_context(certificate).wrap_bio(to_client, to_server),
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
        raise SetupError(f"TLS: {certificate} does not work: {tls_reason(error)}.") from error
