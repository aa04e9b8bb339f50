"""Several workers of one gateway: their parent starts, watches, reloads and ends them."""

import json
import signal
import socket
import stat
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psutil
import pytest

from tests.integration.calls import Client
from tests.integration.ledger import Outcome
from tests.integration.ledger_client import FaultyUpstream, Load
from tests.integration.programs import API_KEY, Gateway, Program, python, python_path, wait_until
from tests.integration.test_service_manager import Manager


def gateway_for(origin, tmp_path, *, environment=None, workers=2, drain=None, **more):
    return Gateway(
        {
            "gateway": {"listen": "127.0.0.1:0", "workers": workers, "drain": drain or {}},
            "leases": {"tool": {"url": f"http://{origin}"}},
            "logging": {"level": "info"},
            **more,
        },
        tmp_path,
        environment,
    )


def workers_of(gateway):
    return psutil.Process(gateway.pid).children()


def clients_of(process):
    """The ports of the clients whose connections a worker has."""
    return {
        each.raddr.port
        for each in process.net_connections("tcp")
        if each.status == psutil.CONN_ESTABLISHED and each.raddr
    }


def ask(address, path, key=API_KEY):
    with Client(address, "/peer/tool", key) as client:
        return client.request("GET", path)


def end(gateway, status=0):
    children = workers_of(gateway)
    gateway.signal(signal.SIGTERM)
    assert gateway.process.wait(35) == status
    assert not any(child.is_running() for child in children)


@pytest.fixture
def manager(tmp_path):
    with closing(Manager(tmp_path / "notify")) as manager:
        yield manager


def test_requests_are_answered_by_all_and_the_end_is_clean(origin, tmp_path):
    with gateway_for(origin, tmp_path) as gateway:
        served = Counter()
        with ThreadPoolExecutor(8) as pool:
            for _ in range(10):
                slow = [pool.submit(ask, gateway.address, "/slow?seconds=0.3") for _ in range(8)]
                wait_until(
                    lambda: sum(len(clients_of(each)) for each in workers_of(gateway)) >= 8,
                    5,
                    "requests",
                )
                for worker in workers_of(gateway):
                    served[worker.pid] += len(clients_of(worker))
                assert [each.result().status for each in slow] == [200] * 8
                if len(served) == 2 and min(served.values()):
                    break
        assert len(served) == 2
        assert min(served.values()) > 0
        end(gateway)


def test_a_worker_that_is_killed_takes_only_its_own_connections_along(tmp_path):
    with (
        FaultyUpstream() as upstream,
        gateway_for(upstream.address, tmp_path) as gateway,
        ThreadPoolExecutor(24) as pool,
        Load(name="kill") as load,
    ):
        victim, survivor = workers_of(gateway)
        slow = {}
        for _ in range(24):
            client = socket.create_connection(gateway.address.split(":"), 10)
            client.sendall(
                b"GET /peer/tool/echo?delay=2 HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\n"
                b"X-Call: slow\r\nConnection: close\r\n\r\n" % API_KEY.encode()
            )
            slow[client.getsockname()[1]] = pool.submit(read_all, client)
        steady = load.requests(gateway.address, "/peer/tool/echo?delay=0.02", rate=200)
        wait_until(
            lambda: (
                load.ledger.sent >= 100 and slow.keys() <= clients_of(victim) | clients_of(survivor)
            ),
            10,
            "the slow ones, and others",
        )
        its_own = clients_of(victim)
        killed = time.monotonic()
        victim.kill()
        gateway.wait_for_line("2 workers take requests", count=2, seconds=5)
        replaced = time.monotonic() - killed
        wanted = load.ledger.sent + 100
        wait_until(lambda: load.ledger.sent >= wanted, 10, "others")
        steady.stop()
        lost = {port for port, answer in slow.items() if not answer.result()}
        assert lost == its_own & slow.keys()
        entries = load.ledger.entries
        unanswered = [each for each in entries if each.outcome is not Outcome.ANSWERED]
        # Those that were being answered when it died, and none that came afterwards.
        assert all(each.begun <= killed + 0.05 for each in unanswered)
        assert all(each.why != "no connection" for each in unanswered)
        print(
            f"replaced after {replaced:.3f} s; of {len(entries)} {len(unanswered)} and of"
            f" {len(slow)} slow {len(lost)} were not answered"
        )
        assert len(unanswered) <= 20
        assert len(workers_of(gateway)) == 2
        assert survivor.is_running()
        assert replaced <= 1.0
        assert gateway.count_lines(rf"worker 1 \(process {victim.pid}\) has ended by signal 9") == 1
        end(gateway)


def read_all(client):
    received = b""
    with client:
        try:
            while more := client.recv(65536):
                received += more
        except OSError:
            return b""
    return received


def test_metrics_are_those_of_all_workers(origin, tmp_path):
    with gateway_for(origin, tmp_path, metrics={"auth": False}) as gateway:
        with ThreadPoolExecutor(8) as pool:
            paths = ["/slow?seconds=0.2"] * 40
            answers = pool.map(lambda path: ask(gateway.address, path), paths)
            assert {answer.status for answer in answers} == {200}

        def told():
            with Client(gateway.address) as client:
                text = client.request("GET", "/metrics").body.decode()
            return sum(
                float(line.rpartition(" ")[2])
                for line in text.splitlines()
                if line.startswith("portal_gateway_requests_total{") and 'lease_id="tool"' in line
            )

        # Each worker writes what it has counted once a second, and asks the others for theirs.
        wait_until(lambda: told() == 40, 5, "the requests of all workers")
        assert [told() for _ in range(10)] == [40] * 10
        end(gateway)


def test_a_worker_that_keeps_ending_is_started_ever_later_and_never_in_silence(origin, tmp_path):
    with gateway_for(origin, tmp_path, workers=2) as gateway:
        steady = workers_of(gateway)[1]
        parent = psutil.Process(gateway.pid)
        descriptors = parent.num_fds()
        for count in range(1, 4):
            (victim,) = [each for each in workers_of(gateway) if each != steady]
            victim.kill()
            gateway.wait_for_line("another is started", count=count)
            gateway.wait_for_line(r"2 workers take requests", count=count + 1)
            assert ask(gateway.address, "/echo").status == 200
        waits = [
            json.loads(line)["message"].partition("; ")[2]
            for line in gateway.lines
            if "another is started" in line
        ]
        assert waits == [
            "another is started at once",
            "another is started in 0.25 s",
            "another is started in 0.5 s",
        ]
        assert parent.num_fds() == descriptors
        end(gateway)


def test_what_keeps_workers_from_starting_ends_the_gateway(tmp_path):
    identity = tmp_path / "identity"
    identity.write_text("no key")
    identity.chmod(0o600)
    settings = {
        "gateway": {"listen": "127.0.0.1:0", "workers": 2},
        "portal": {"credential_file": str(identity)},
    }
    with pytest.raises(AssertionError, match="before all were ready") as caught:
        Gateway(settings, tmp_path)
    assert "Traceback" not in str(caught.value)
    assert "ended with 1" in str(caught.value)


def test_an_address_that_is_taken_is_said_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AssertionError, match=f"cannot listen on {address}: Address already"):
            Gateway({"gateway": {"listen": address, "workers": 2}}, tmp_path)


def test_sighup_reaches_every_worker_and_those_that_come_later(origin, manager, tmp_path):
    environment = {"NOTIFY_SOCKET": manager.name}
    with gateway_for(origin, tmp_path, environment=environment) as gateway:
        manager.hear_of("READY=1")
        file = tmp_path / "gateway.yaml"
        file.write_text(file.read_text().replace(API_KEY, "sk_test_the_second_key_01234567"))
        gateway.signal(signal.SIGHUP)
        lines, _ = manager.hear_of("RELOADING=1")
        assert lines[1].startswith("MONOTONIC_USEC=")
        manager.hear_of("READY=1")
        gateway.wait_for_line("configuration 2 is in use", count=2, seconds=1)
        statuses = [ask(gateway.address, "/echo").status for _ in range(20)]
        assert statuses == [401] * 20
        for worker in workers_of(gateway):
            worker.kill()
        gateway.wait_for_line("2 workers take requests", count=3)
        new = [ask(gateway.address, "/echo", "sk_test_the_second_key_01234567") for _ in range(20)]
        assert [each.status for each in new] == [200] * 20
        end(gateway)


def test_a_file_with_a_fault_changes_nothing_for_new_workers_either(origin, tmp_path):
    with gateway_for(origin, tmp_path) as gateway:
        (tmp_path / "gateway.yaml").write_text("gateway: {liste: x}")
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_line("not reloaded", count=2)
        gateway.wait_for_line("2 workers take requests", count=2)
        for worker in workers_of(gateway):
            worker.kill()
        gateway.wait_for_line("2 workers take requests", count=3)
        assert ask(gateway.address, "/echo").status == 200
        end(gateway)


def test_systemd_hears_of_all_workers_and_no_watchdog_is_served_for_one_that_hangs(
    origin, manager, tmp_path
):
    environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "600000"}
    with gateway_for(origin, tmp_path, environment=environment) as gateway:
        lines, _ = manager.hear_of("READY=1")
        assert lines == ["READY=1", "STATUS=2 workers take requests"]
        assert [manager.hear() for _ in range(3)] == [["WATCHDOG=1"]] * 3
        hanging = workers_of(gateway)[0]
        hanging.suspend()
        gateway.wait_for_line("a worker does not answer")
        assert manager.hear_all(0.9)[1:] == []
        hanging.resume()
        while manager.hear() != ["WATCHDOG=1"]:
            pass
        gateway.signal(signal.SIGTERM)
        manager.hear_of("STOPPING=1")
        assert gateway.process.wait(10) == 0


def test_a_second_signal_ends_at_once(origin, tmp_path):
    with (
        gateway_for(origin, tmp_path, drain={"grace": "60s"}) as gateway,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(ask, gateway.address, "/slow?seconds=20")
        wait_until(lambda: any(clients_of(each) for each in workers_of(gateway)), 5, "a request")
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_line("the parent process ends: ending", count=2)
        start = time.monotonic()
        gateway.signal(signal.SIGINT)
        assert gateway.process.wait(10) == 0
        assert time.monotonic() - start < 3
        assert isinstance(answer.exception(), OSError)


def test_requests_under_way_are_answered_at_the_end(origin, tmp_path):
    with gateway_for(origin, tmp_path) as gateway, ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(ask, gateway.address, "/slow?seconds=1") for _ in range(8)]
        wait_until(
            lambda: sum(len(clients_of(each)) for each in workers_of(gateway)) >= 8, 5, "requests"
        )
        # As a service manager may do it: everybody gets the signal, the workers twice so.
        for worker in workers_of(gateway):
            worker.send_signal(signal.SIGTERM)
        end(gateway)
        assert [each.result().status for each in slow] == [200] * 8


def test_workers_end_when_their_parent_is_killed(origin, tmp_path):
    with gateway_for(origin, tmp_path) as gateway:
        children = workers_of(gateway)
        gateway.kill()
        _, alive = psutil.wait_procs(children, 10)
        assert alive == []
        assert gateway.count_lines("the parent process is gone") == 2


def test_a_unix_socket_is_shared_and_removed(origin, tmp_path):
    path = tmp_path / "gateway.sock"
    file = tmp_path / "gateway.yaml"
    file.write_text(f"gateway: {{listen: 'unix:{path}:mode=600', workers: 2}}")
    run = python("portal_gateway.cli", "run", "--config", file)
    with Program("gateway", run, environment=python_path(), ours=True) as gateway:
        gateway.wait_for_line("Portal Gateway listens on ")
        workers_of(gateway)[0].kill()
        gateway.wait_for_line("2 workers take requests", count=2)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for _ in range(10):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        end(gateway)
        assert not path.exists()
