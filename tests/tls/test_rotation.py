from contextlib import suppress

import pytest
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from portal_gateway.tls.certificates import BadTLSFile
from portal_gateway.tls.files import TLSFiles
from portal_gateway.tls.rotation import LOOK_EVERY, TICKET_KEY_LIFE, Rotation
from tests.tls.tls_world import NOW, Certified

FIRST, SECOND = Certified("first"), Certified("second")


class World:
    def __init__(self, directory):
        self.directory = directory
        self.clock = Clock()
        self.files = TLSFiles(*FIRST.write(directory))
        self.lines = []
        self.rotation = Rotation(self.clock, self.files, [b"http/1.1"], lambda: NOW)
        self.rotation.start()

    def look(self, times=1):
        for _ in range(times):
            self.clock.advance(LOOK_EVERY)

    @property
    def served(self):
        """Whose certificate a client would get now."""
        return served_by(self.rotation.contexts)

    def log(self, event):
        self.lines.append(event["log_format"].format(**event))


def served_by(contexts):
    server = contexts.serverConnectionForTLS(None)
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    server.set_accept_state()
    shake(client, server)
    return client.get_peer_certificate(as_cryptography=True).subject.rfc4514_string()


def shake(client, server):
    for _ in range(4):
        for end in (client, server):
            with suppress(SSL.WantReadError):
                end.do_handshake()
        for source, target in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                target.bio_write(source.bio_read(65536))


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    globalLogPublisher.addObserver(made.log)
    yield made
    globalLogPublisher.removeObserver(made.log)
    made.rotation.stop()
    assert made.clock.getDelayedCalls() == []


def test_a_new_pair_is_served_at_the_next_look(world):
    assert world.served == "CN=first"
    SECOND.write(world.directory)
    assert world.served == "CN=first"
    world.look()
    assert world.served == "CN=second"
    world.look(10)
    assert world.lines == [
        "serving a new certificate, valid until "
        + SECOND.certificate.not_valid_after_utc.isoformat()
    ]


def test_a_connection_keeps_the_context_that_it_began_with(world):
    server = world.rotation.contexts.serverConnectionForTLS(None)
    SECOND.write(world.directory)
    world.look()
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    server.set_accept_state()
    shake(client, server)
    peer = client.get_peer_certificate(as_cryptography=True)
    assert peer.subject.rfc4514_string() == "CN=first"


@pytest.mark.parametrize("kept", ["cert_file", "key_file"])
def test_a_pair_that_does_not_match_is_not_served_and_said_once(world, kept):
    path = getattr(world.files, kept)
    old = path.read_bytes()
    SECOND.write(world.directory)
    new = path.read_bytes()
    path.write_bytes(old)
    world.look(20)
    assert world.served == "CN=first"
    (line,) = world.lines
    assert "not that of the certificate" in line
    path.write_bytes(new)
    world.look()
    assert world.served == "CN=second"
    assert len(world.lines) == 2


def test_a_half_written_certificate_is_not_served(world):
    world.files.cert_file.write_bytes(SECOND.pem[:200])
    world.files.key_file.write_bytes(SECOND.key_pem)
    world.look(3)
    assert world.served == "CN=first"
    with world.files.cert_file.open("ab") as file:
        file.write(SECOND.pem[200:])
    world.look()
    assert world.served == "CN=second"


def test_a_write_that_changes_no_time_is_found(world):
    """Two writes within one tick of the file system's clock."""
    world.files.key_file.write_bytes(SECOND.key_pem)
    world.look()
    state = world.files.state()
    world.files.cert_file.write_bytes(SECOND.pem)
    # What the look compares says that nothing has changed.
    world.rotation._state = world.files.state()
    assert state != world.files.state()
    world.look()
    assert world.served == "CN=second"


def test_files_that_go_and_come_back(world):
    world.files.cert_file.rename(world.directory / "away")
    world.look(5)
    assert world.served == "CN=first"
    assert [line[:22] for line in world.lines] == ["TLS files not used, th"]
    (world.directory / "away").rename(world.files.cert_file)
    world.look()
    assert world.served == "CN=first"


def test_the_key_of_tickets_is_a_day_old_at_most(world):
    before = world.rotation.contexts.current
    world.look(9)
    assert world.rotation.contexts.current is before
    world.clock.advance(TICKET_KEY_LIFE)
    world.look(2)
    after = world.rotation.contexts.current
    assert after is not before
    world.look(9)
    assert world.rotation.contexts.current is after
    assert world.lines == []


def test_what_is_wrong_at_the_start_is_raised(tmp_path):
    cert_file, _ = FIRST.write(tmp_path)
    cert_file.write_bytes(SECOND.pem)
    with pytest.raises(BadTLSFile, match="key_file"):
        Rotation(Clock(), TLSFiles(cert_file, tmp_path / "key.pem"), [b"http/1.1"], lambda: NOW)


def test_concerns_are_logged(tmp_path):
    lines = []

    def observe(event):
        lines.append(event["log_format"].format(**event))

    files = TLSFiles(*FIRST.write(tmp_path))
    files.key_file.chmod(0o644)
    globalLogPublisher.addObserver(observe)
    Rotation(Clock(), files, [b"http/1.1"], lambda: NOW)
    globalLogPublisher.removeObserver(observe)
    assert lines == [
        "gateway.tls.key_file: every user can read the key (mode 0644); chmod 640 the file"
    ]


def test_where_a_certificate_is_to_come_yet_handshakes_are_refused_until_then(tmp_path):
    clock, lines = Clock(), []
    files = TLSFiles(tmp_path / "cert.pem", tmp_path / "key.pem")

    def log(event):
        lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(log)
    try:
        rotation = Rotation(clock, files, [b"http/1.1"], lambda: NOW, may_wait=True)
        rotation.start()
        with pytest.raises(SSL.Error):
            served_by(rotation.contexts)
        clock.pump([LOOK_EVERY] * 10)
        (told,) = [line for line in lines if "refused" in line]
        assert told.startswith("no certificate yet, TLS handshakes are refused: the file cannot be")
        FIRST.write(tmp_path)
        clock.pump([LOOK_EVERY] * 2)
        assert served_by(rotation.contexts) == "CN=first"
        rotation.stop()
    finally:
        globalLogPublisher.removeObserver(log)
    assert clock.getDelayedCalls() == []
    assert lines[-1].startswith("serving a new certificate")


def test_without_one_to_come_it_does_not_start(tmp_path):
    files = TLSFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(BadTLSFile):
        Rotation(Clock(), files, [b"http/1.1"], lambda: NOW)


def test_other_files_are_served_and_kept_to(world, tmp_path):
    (tmp_path / "other").mkdir()
    other = TLSFiles(*SECOND.write(tmp_path / "other"))
    served = world.rotation.prepare(other, may_wait=False)
    assert world.served == "CN=first"
    world.rotation.use(served)
    assert world.served == "CN=second"
    # The old files are nobody's any more, the new ones are looked at.
    FIRST.write(world.directory)
    world.look(10)
    assert world.served == "CN=second"
    FIRST.write(tmp_path / "other")
    world.look()
    assert world.served == "CN=first"


def test_files_that_cannot_be_used_change_nothing(world, tmp_path):
    nowhere = TLSFiles(tmp_path / "no", tmp_path / "no")
    with pytest.raises(BadTLSFile):
        world.rotation.prepare(nowhere, may_wait=False)
    assert world.served == "CN=first"
    # A certificate that somebody is to bring yet is waited for.
    world.rotation.use(world.rotation.prepare(nowhere, may_wait=True))
    assert world.rotation.expires is None
    with pytest.raises(SSL.Error):
        served_by(world.rotation.contexts)
