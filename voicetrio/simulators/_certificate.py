"""A certificate authority for one run, so that a simulator can serve TLS."""

from __future__ import annotations

import ssl

import attrs

__all__ = ["Certificate", "throw_away_certificate"]


@attrs.frozen
class Certificate:
    """A certificate that nobody trusts but who is told to.

    Attributes:
        server_context: for the simulator: ``serve(ssl_context=…)``.
        ca_pem: the authority's certificate, for a client in another process: write it to a file and name that in
            ``SSL_CERT_FILE`` or in whatever the client offers.
    """

    server_context: ssl.SSLContext
    ca_pem: bytes = attrs.field(repr=False)

    def client_context(self) -> ssl.SSLContext:
        """A context for a client that trusts this authority alone."""
        return ssl.create_default_context(cadata=self.ca_pem.decode("ascii"))


def throw_away_certificate(*hosts: str) -> Certificate:
    """A new certificate for `hosts`, 127.0.0.1 and localhost if none are named.

    Raises:
        ImportError: trustme is not installed; it comes with ``voicetrio[test]``.
    """
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(hosts or ("127.0.0.1", "localhost"))).configure_cert(context)
    return Certificate(context, authority.cert_pem.bytes())
