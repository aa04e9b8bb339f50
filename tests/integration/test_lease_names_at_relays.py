"""Names of leases at Portal's own relays: what the rules were asked about is what answers."""

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from portal_gateway.relay.credential_file import load_or_create_credential
from tests.integration import programs
from tests.integration.calls import Answer, Client

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("portal")]

LOW, BOSS = "sk_test_low_0123456789abcdefgh", "sk_test_boss_0123456789abcdefgh"
KEYS = {"keys": [{"id": "low", "key": LOW}, {"id": "boss", "key": BOSS}]}
RULES = {"*": ["low"], "secret": ["boss"]}


class Stage(NamedTuple):
    """A gateway in front of a relay, where ``mine`` and ``strangers`` are behind the leases."""

    relay: programs.Relay
    gateway: programs.Gateway
    mine: str
    strangers: str
    ids: dict[str, str]

    def ask(self, path: str, key: str) -> Answer:
        with Client(self.gateway.address, "", key) as client:
            return client.request("GET", path)

    def reached(self, answer: Answer) -> str | None:
        """Who was reached by the request with this answer, if anybody was."""
        for name, address in (("mine", self.mine), ("stranger", self.strangers)):
            with Client(address) as client:
                if client.request("GET", "/seen").json["calls"].get(answer.call):
                    return name
        return None


def stage(
    version: str, origin: str, directory: Path, *, by_http: bool, mine: list[str], theirs: list[str]
) -> Iterator[Stage]:
    strangers, address = programs.origin()
    with strangers, programs.go_relay(version) as relay:
        tunnels = []
        ids = {}
        try:
            # By ours: Portal's SDK refuses names that its relay takes from anybody else.
            for number, name in enumerate((*mine, *theirs)):
                file = directory / f"{number}.pem"
                ids[name] = load_or_create_credential(file).identity.id
                to = origin if name in mine else address
                tunnels.append(programs.expose(relay, name, to, file))
            url = f"http://127.0.0.1:{relay.port}" if by_http else relay.url
            configuration = {
                "portal": {"relays": [{"url": url}]},
                "auth": KEYS,
                "lease_acl": {**RULES, "tool": ["boss"], "my-agent": ["boss"]},
                "leases": {
                    "tool": {"url": f"http://{origin}"},
                    "my-agent": {"identity": ids.get("mine", "A" * 26)},
                },
            }
            with programs.Gateway(configuration, directory) as gateway:
                gateway.wait_ready()
                yield Stage(relay, gateway, origin, address, ids)
        finally:
            for tunnel in tunnels:
                tunnel.stop()


@pytest.fixture(scope="module")
def by_path(portal: None, origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from stage(
        "1.2.0",
        origin,
        tmp_path_factory.mktemp("by-path"),
        by_http=True,
        mine=["secret", "open", "a b"],
        theirs=["Secret", "Tool", "My-Agent", "a%b", "\uff53ecret", "secret."],
    )


@pytest.mark.parametrize(
    "name",
    [
        "s%2565cret",
        "%2573ecret",
        "s%252565cret",
        "secre%2574",
        "secre%2574%2f",
        "a%2525b",
        "a+b",
        "a%2Bb",
        "a%252Bb",
        "%25EF%25BD%2593ecret",
        "%EF%BD%93ecret",
        "secret.",
        "secret%20",
        "secret%2520",
        "secret;x",
        "secret%3bx",
        "secret%253fx",
    ],
)
def test_a_name_that_this_relay_decodes_again_is_not_sent(by_path: Stage, name: str) -> None:
    for key in (LOW, BOSS):
        answer = by_path.ask(f"/peer/{name}/echo", key)
        assert answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN}
        assert by_path.reached(answer) is None


def test_this_relay_does_decode_again(by_path: Stage) -> None:
    """What the gateway guards against is there: by itself the relay answers by ``secret``."""
    with Client(f"127.0.0.1:{by_path.relay.port}") as client:
        answer = client.request("GET", "/peer/s%2565cret/echo")
        assert answer.status == HTTPStatus.OK
        assert by_path.reached(answer) == "mine"
        answer = client.request("GET", "/peer/a+b/echo")
        assert by_path.reached(answer) == "mine"
        answer = client.request("GET", "/peer/Secret/echo")
        assert by_path.reached(answer) == "stranger"
    answer = by_path.ask("/peer/s%2565cret/echo", LOW)
    assert (answer.status, answer.json["error"]) == (HTTPStatus.NOT_FOUND, "lease_not_found")


def test_an_id_is_not_decoded_again_either(by_path: Stage) -> None:
    lease_id = by_path.ids["secret"]
    doubly = f"%25{ord(lease_id[0]):02x}{lease_id[1:]}"
    for key, code in ((LOW, "lease_not_found"), (BOSS, "lease_access_denied")):
        answer = by_path.ask(f"/peer/{doubly}/echo", key)
        assert answer.json["error"] == code
        assert by_path.reached(answer) is None
    # The id itself may be that of any lease that the rules name.
    assert by_path.ask(f"/peer/{lease_id}/echo", LOW).status == HTTPStatus.FORBIDDEN


def test_a_name_with_one_reading_is_sent(by_path: Stage) -> None:
    for path, key in (
        ("/peer/secret/echo", BOSS),
        ("/peer/s%65cret/echo", BOSS),
        ("/peer/open/echo", LOW),
        ("/peer/a%20b/echo", LOW),
    ):
        answer = by_path.ask(path, key)
        assert answer.status == HTTPStatus.OK, path
        assert by_path.reached(answer) == "mine"
    assert by_path.ask("/peer/secret/echo", LOW).status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("name", ["Secret", "SECRET", "%C5%BFecret"])
def test_a_stranger_with_the_name_in_another_case_is_not_reached(by_path: Stage, name: str) -> None:
    assert by_path.ask(f"/peer/{name}/echo", LOW).status == HTTPStatus.FORBIDDEN
    answer = by_path.ask(f"/peer/{name}/echo", BOSS)
    assert answer.status == HTTPStatus.NOT_FOUND
    assert by_path.reached(answer) is None


def test_what_would_climb_is_not_sent(by_path: Stage) -> None:
    for rest in ("%252e%252e/secret/echo", "..%252fsecret/echo", "%252e%252e%252fsecret/echo"):
        answer = by_path.ask(f"/peer/open/{rest}", LOW)
        assert answer.status == HTTPStatus.BAD_REQUEST
        assert by_path.reached(answer) is None


def test_by_path_configured_names_are_theirs_or_nobodys(by_path: Stage) -> None:
    check_configured(by_path, pinned=None)


@pytest.fixture(scope="module")
def listed(portal: None, origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from stage(
        "1.4.14",
        origin,
        tmp_path_factory.mktemp("listed"),
        by_http=False,
        mine=["mine", "secret"],
        theirs=["Tool", "My-Agent", "tool.", "ｔｏｏｌ", "MY-AGENT ", "Secret"],
    )


def test_listed_configured_names_are_theirs_or_nobodys(listed: Stage) -> None:
    check_configured(listed, pinned="mine")
    # By its id a stranger is reached, without the rights of a configured name.
    for name in ("Tool", "My-Agent"):
        path = f"/peer/{listed.ids[name]}/echo"
        assert listed.ask(path, BOSS).status == HTTPStatus.FORBIDDEN
        assert listed.reached(listed.ask(path, LOW)) == "stranger"


def test_listed_names_that_fold_alike_are_reached_in_their_very_spelling(listed: Stage) -> None:
    assert listed.reached(listed.ask("/peer/secret/echo", BOSS)) == "mine"
    assert listed.reached(listed.ask("/peer/Secret/echo", BOSS)) == "stranger"
    assert listed.ask("/peer/SECRET/echo", BOSS).status == HTTPStatus.NOT_FOUND
    for name in ("secret", "Secret", "SECRET"):
        assert listed.ask(f"/peer/{name}/echo", LOW).status == HTTPStatus.FORBIDDEN


def check_configured(stage: Stage, pinned: str | None) -> None:
    for name in ("tool", "Tool", "TOOL", "T%4Fol"):
        answer = stage.ask(f"/peer/{name}/echo", BOSS)
        assert stage.reached(answer) == "mine", name
    for name in ("my-agent", "My-Agent", "MY-AGENT"):
        assert stage.reached(stage.ask(f"/peer/{name}/echo", BOSS)) == pinned, name
    likes = (
        "tool.",
        "tool%20",
        "%EF%BD%94%EF%BD%8F%EF%BD%8F%EF%BD%8C",
        "tool%CD%8F",
        "MY-AGENT%20",
    )
    for name in likes:
        for key in (LOW, BOSS):
            answer = stage.ask(f"/peer/{name}/echo", key)
            assert answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN}, name
            assert stage.reached(answer) is None, name


def test_strangers_neither_take_a_listed_name_nor_its_place_at_a_later_relay(
    portal: None, origin: str, tmp_path: Path
) -> None:
    """What folds like a name, at its relay, and the very name at the next one."""
    names = {"Company-Tool": "COMPANY-TOOL", "x² team™": "x2 teamtm", "straße": "STRASSE"}
    strangers, address = programs.origin()
    with strangers, programs.go_relay("1.4.14") as first, programs.go_relay("1.4.14") as second:
        tunnels = []
        try:
            for number, (mine, like) in enumerate(names.items()):
                for relay, name, to in (
                    (first, mine, origin),
                    (first, like, address),
                    (second, mine, address),
                ):
                    file = tmp_path / f"{number}-{len(tunnels)}.pem"
                    tunnels.append(programs.expose(relay, name, to, file))
            configuration = {
                "portal": {"relays": [{"url": first.url}, {"url": second.url}]},
                "auth": KEYS,
                "lease_acl": {"*": ["boss"]},
            }
            with programs.Gateway(configuration, tmp_path) as gateway:
                gateway.wait_ready()
                stage = Stage(first, gateway, origin, address, {})
                for mine in names:
                    answer = stage.ask(f"/peer/{quote(mine)}/echo", BOSS)
                    assert stage.reached(answer) == "mine", mine
                for nobodys in ("company-tool", "strasse"):
                    answer = stage.ask(f"/peer/{nobodys}/echo", BOSS)
                    assert answer.status == HTTPStatus.NOT_FOUND, nobodys
        finally:
            for tunnel in tunnels:
                tunnel.stop()
