"""TLS handshakes in memory, between an OpenSSL client and a connection of the server's."""

from OpenSSL import SSL


class Client:
    """A client that trusts everybody; ``version`` is the only one that it speaks."""

    def __init__(self, name=None, protocols=(), version=SSL.TLS1_3_VERSION):
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        self.end = SSL.Connection(context, None)
        self.end.set_connect_state()
        if name is not None:
            self.end.set_tlsext_host_name(name)
        if protocols:
            self.end.set_alpn_protos(list(protocols))

    @property
    def certificate(self):
        return self.end.get_peer_certificate(as_cryptography=True)

    @property
    def protocol(self):
        return self.end.get_alpn_proto_negotiated()


def shake_hands(client, server, piece=1 << 20):
    """Have both talk until both are done. Raises ``SSL.Error`` for an alert of either."""
    server.set_accept_state()
    ends = [client.end, server]
    done = [False, False]
    for _ in range(20):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done[number] = True
            except SSL.WantReadError:
                pass
            finally:
                _move(end, ends[1 - number], piece)
        if all(done):
            return
    raise AssertionError("the handshake does not come to an end")


def _move(sender, receiver, piece):
    while True:
        try:
            data = sender.bio_read(piece)
        except SSL.WantReadError:
            return
        receiver.bio_write(data)
