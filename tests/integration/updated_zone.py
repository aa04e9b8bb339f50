"""A DNS server of one zone that takes updates (RFC 2136) signed with a key, over TCP."""

import base64
import socketserver
import threading
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsigkeyring


class UpdatedZone:
    """Serves ``zone`` on ``port``, by UDP and TCP; every name of it is at 127.0.0.1.

    ``records`` are its TXT records, ``most`` how many there were at once, ``refused`` the messages
    whose signature was wrong.
    """

    key_name = "acme-key.example.com"
    secret = base64.b64encode(b"a key of thirty-two bytes, or so").decode()

    def __init__(self, zone: str) -> None:
        self._zone = dns.name.from_text(zone)
        self._keyring = dns.tsigkeyring.from_text({self.key_name: self.secret})
        self.records: dict[dns.name.Name, set[str]] = {}
        self.most = 0
        self.refused = 0
        answer = self.answer

        class OverTCP(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                length = int.from_bytes(self.rfile.read(2))
                found = answer(self.rfile.read(length))
                self.wfile.write(len(found).to_bytes(2) + found)

        class OverUDP(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, connection = self.request
                connection.sendto(answer(data), self.client_address)

        self._tcp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), OverTCP)
        self.port = self._tcp.server_address[1]
        self._udp = socketserver.ThreadingUDPServer(("127.0.0.1", self.port), OverUDP)

    def __enter__(self) -> "UpdatedZone":
        self._threads = [
            threading.Thread(target=server.serve_forever) for server in (self._tcp, self._udp)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._tcp, self._udp):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def answer(self, wire: bytes) -> bytes:
        """What a message is answered with."""
        try:
            message = dns.message.from_wire(wire, keyring=self._keyring)
        except dns.exception.DNSException:
            self.refused += 1
            message = dns.message.from_wire(wire, ignore_trailing=True, keyring=False)
            response = dns.message.make_response(message)
            response.set_rcode(dns.rcode.NOTAUTH)
            return response.to_wire()
        response = dns.message.make_response(message)
        if message.opcode() == dns.opcode.UPDATE:
            if message.keyname is None:
                response.set_rcode(dns.rcode.REFUSED)
            else:
                self._update(message)
        else:
            response.flags |= dns.flags.AA
            response.answer.extend(self._found(message.question[0]))
        return response.to_wire()

    def _update(self, message: dns.message.Message) -> None:
        for change in message.authority:
            values = {each.strings[0].decode() for each in change}
            if change.deleting is None:
                self.records.setdefault(change.name, set()).update(values)
            else:
                left = self.records[change.name] - values
                self.records[change.name] = left
                if not left:
                    del self.records[change.name]
        self.most = max(self.most, sum(map(len, self.records.values())))

    def _found(self, question: dns.rrset.RRset) -> Iterator[dns.rrset.RRset]:
        name, kind = question.name, question.rdtype
        if kind == dns.rdatatype.SOA and name == self._zone:
            yield dns.rrset.from_text(name, 60, "IN", "SOA", ". . 1 60 60 60 60")
        elif kind == dns.rdatatype.TXT and name in self.records:
            values = [f'"{value}"' for value in sorted(self.records[name])]
            yield dns.rrset.from_text(name, 60, "IN", "TXT", *values)
        elif kind == dns.rdatatype.A and name.is_subdomain(self._zone):
            yield dns.rrset.from_text(name, 60, "IN", "A", "127.0.0.1")
