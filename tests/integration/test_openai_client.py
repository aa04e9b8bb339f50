"""The OpenAI Python client streams through the gateway, from a service of the shape of OpenAI's.

The service says each event only once the client has taken the one before: an event that waited
anywhere on the way would never arrive.
"""

import asyncio
import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest

from portal_gateway.wire.sse_boundaries import COMMENT
from tests.integration import programs

WORDS = ["Hel", "lo", ", ", "wörld", " 🌍", "!"]
PATIENCE = 30


def piece(number: int, word: str) -> dict[str, object]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "sample-1",
        "choices": [
            {
                "index": 0,
                "delta": {"content": word} if number else {"role": "assistant", "content": word},
                "finish_reason": "stop" if number == len(WORDS) - 1 else None,
            }
        ],
    }


class Service(ThreadingHTTPServer):
    """``taken`` gets an item for each event that the client has taken."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.taken: queue.Queue[None] = queue.Queue()
        self.seen: list[tuple[dict[str, str], dict[str, object]]] = []
        self.gone = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up resets the connection: the tests look at what they are after."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((dict(self.headers), asked))
        assert self.path == "/v1/chat/completions"
        if asked.get("stream"):
            self.stream(asked["model"])
        else:
            self.answer(200, {**piece(0, "whole"), "object": "chat.completion", "choices": [
                {"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "whole"}},
            ]})  # fmt: skip

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, model: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if model == "commented":
            self.chunk(COMMENT)
        for number, word in enumerate(WORDS):
            event = b"data: " + json.dumps(piece(number, word), ensure_ascii=False).encode()
            if model == "bytewise":
                for byte in event + b"\n\n":
                    self.chunk(bytes([byte]))
            else:
                self.chunk(event + b"\n\n")
            if model == "endless":
                self.endless()
                return
            self.server.taken.get(timeout=PATIENCE)
            if model == "cut" and number == 2:
                self.close_connection = True
                return
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def endless(self) -> None:
        """Wait until the client's end has come all the way up."""
        self.connection.settimeout(PATIENCE)
        try:
            ended = self.connection.recv(1) == b""
        except ConnectionResetError:
            ended = True
        if ended:
            self.server.gone.set()
        self.close_connection = True

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.05,))
        thread.start()
        yield service
        service.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=["origin", "relay"])
def base_url(request, service, tmp_path_factory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("openai")
    if request.param == "origin":
        config = {"leases": {"openai": {"url": f"http://{service.address}"}}}
        with programs.Gateway(config, directory) as gateway:
            yield f"http://{gateway.address}/peer/openai/v1"
        return
    with (
        programs.embedded_relay() as relay,
        programs.expose(relay, "openai", service.address, directory / "credential.pem"),
        programs.Gateway({"portal": {"relays": [{"url": relay.url}]}}, directory) as gateway,
    ):
        gateway.wait_ready()
        yield f"http://{gateway.address}/peer/openai/v1"


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key=programs.API_KEY, base_url=base_url, timeout=PATIENCE, max_retries=0
    ) as client:
        yield client


MESSAGES = [{"role": "user", "content": "Say hello"}]


@pytest.mark.parametrize("model", ["sample-1", "commented", "bytewise"])
def test_streaming(client: openai.OpenAI, service: Service, model: str) -> None:
    words = []
    with client.chat.completions.create(model=model, messages=MESSAGES, stream=True) as stream:
        for event in stream:
            words.append(event.choices[0].delta.content)
            service.taken.put(None)
    assert words == WORDS
    assert event.choices[0].finish_reason == "stop"
    fields, asked = service.seen[-1]
    assert asked["messages"] == MESSAGES
    assert "Authorization" not in fields
    assert programs.API_KEY not in str(fields)


def test_streaming_with_the_asynchronous_client(base_url: str, service: Service) -> None:
    async def say(number: int) -> list[str | None]:
        async with openai.AsyncOpenAI(
            api_key=programs.API_KEY, base_url=base_url, timeout=PATIENCE, max_retries=0
        ) as client:
            words = []
            async for event in await client.chat.completions.create(
                model="sample-1", messages=MESSAGES, stream=True
            ):
                words.append(event.choices[0].delta.content)
                service.taken.put(None)
            return words

    async def main() -> list[list[str | None]]:
        return await asyncio.gather(*map(say, range(5)))

    assert asyncio.run(main()) == [WORDS] * 5


def test_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="sample-1", messages=MESSAGES)
    assert answer.choices[0].message.content == "whole"


def test_a_stream_that_is_cut_is_an_error(client: openai.OpenAI, service: Service) -> None:
    words = []
    stream = client.chat.completions.create(model="cut", messages=MESSAGES, stream=True)

    def read() -> None:
        for event in stream:
            words.append(event.choices[0].delta.content)
            service.taken.put(None)

    with pytest.raises(Exception, match=r"(?i)incomplete|closed|peer|connection|read"):
        read()
    assert words == WORDS[:3]


def test_a_client_that_stops_listening_ends_the_stream_at_the_service(
    client: openai.OpenAI, service: Service
) -> None:
    service.gone.clear()
    with client.chat.completions.create(model="endless", messages=MESSAGES, stream=True) as stream:
        assert next(iter(stream)).choices[0].delta.content == WORDS[0]
    assert service.gone.wait(PATIENCE)


def test_a_wrong_key_is_an_authentication_error(base_url: str) -> None:
    with (
        openai.OpenAI(api_key="sk-wrong", base_url=base_url, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="sample-1", messages=MESSAGES, stream=True)
