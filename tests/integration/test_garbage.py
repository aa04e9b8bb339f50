"""What the garbage collector of a running gateway still has to look through."""

import signal
import sys
import textwrap

from tests.integration import programs
from tests.integration.programs import Program

WATCHED = textwrap.dedent(
    """
    import gc, signal, sys
    from portal_gateway import cli

    def tell(*_):
        print("seen", len(gc.get_objects()), "spared", gc.get_freeze_count(), flush=True)

    signal.signal(signal.SIGUSR1, tell)
    sys.argv = ["portal-gateway", "run", "--config", sys.argv[1]]
    cli.main()
    """
)


def test_what_was_made_at_the_start_is_not_looked_through(tmp_path):
    config = tmp_path / "gateway.yaml"
    config.write_text("gateway: {listen: '127.0.0.1:0'}\n", encoding="utf-8")
    with Program(
        "gateway",
        [sys.executable, "-c", WATCHED, config],
        environment=programs.python_path(),
        ours=True,
    ) as gateway:
        gateway.wait_for_line("listens on")

        def spared() -> bool:
            gateway.signal(signal.SIGUSR1)
            last = [line for line in gateway.lines if line.startswith("seen")][-1:]
            return any(int(line.split()[1]) < int(line.split()[3]) / 20 for line in last)

        programs.wait_until(spared, 5, "the garbage collector has little to look through")
