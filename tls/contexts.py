"""Contexts from files: how we listen and how we connect. OpenSSL's own defaults decide about ciphers."""

from __future__ import annotations

import ssl

from tls.config import ClientTls, ServerTls


class BadCertificate(ValueError):
    """Files that cannot be used, and why, in one line."""


def listening(options: ServerTls) -> ssl.SSLContext:
    """For a listener that speaks HTTP/1.1 alone. Raises BadCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _show(context, options.cert_file, options.key_file)
    if options.client_ca_file:
        _believe(context, options.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        # A resumed session would outlive its certificate and its CA.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return context


def connecting(options: ClientTls) -> ssl.SSLContext:
    """For connections to servers whose certificates name them. Raises BadCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _believe(context, options.ca_file)
    if options.cert_file:
        _show(context, options.cert_file, options.key_file)
    return context


def _show(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    try:
        context.load_cert_chain(cert_file, key_file or None, password=_no_password)
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        why = "the key does not belong to the certificate" if mismatch else "no certificate with its key in PEM"
        raise BadCertificate(f"{_named(cert_file, key_file)}: {why}") from None
    except OSError as error:
        raise BadCertificate(f"{_named(cert_file, key_file)}: {error.strerror or error}") from None


def _believe(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError:
        raise BadCertificate(f"{ca_file}: no certificates in PEM") from None
    except OSError as error:
        raise BadCertificate(f"{ca_file}: {error.strerror or error}") from None


def _named(cert_file: str, key_file: str) -> str:
    return f"{cert_file} with {key_file}" if key_file else cert_file


def _no_password() -> str:
    """OpenSSL would ask for one on the terminal, and wait."""
    raise BadCertificate("the key has a password; a server starts without anybody to ask for it")
