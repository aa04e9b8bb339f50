"""docs/quick-start.rst, done as it is written: every command in its order, in a shell."""

import os
import re
import subprocess
import sys
import textwrap

from tests.integration import programs

PAGE = (programs.ROOT / "docs" / "quick-start.rst").read_text(encoding="utf-8")

STEP = re.compile(
    r"^\.\. code-block:: (shell|yaml)\n(?: +:name: (.+)\n)?\n((?: {4}.*\n|\n)+)", re.MULTILINE
)

READY = {
    "make demo": "Ctrl-C stops it",
    "python3 -m http.server": "^Serving HTTP on",
    "portal-gateway expose": programs.EXPOSE_READY,
    "portal-gateway run": r"relay 127\.0\.0\.1:\d+ connected",
}
"""What has a terminal of its own, and what is waited for there."""

ANSWERS = [
    ("/peer/agent/echo?hello=portal", '"target": "/echo?hello=portal"'),
    ("curl http://127.0.0.1", '"error": "missing_api_key"'),
    ("/peer/agent/tokens", "data: [DONE]"),
    ("/whoami", '"key_id": "demo"'),
    ("/peer/mine/README.rst", "Portal Gateway\n===="),
    ("portal-gateway validate", "Configuration valid\n"),
    ("/peer/mine/README.rst", "Portal Gateway\n===="),
]
"""A part of each command that has an answer, in their order, and a part of that."""


class Terminal:
    """Runs commands of the page, with free ports in the place of those that it names."""

    def __init__(self, directory):
        self.directory = directory
        self.ports = {port: programs.free_port() for port in ("8080", "3000", "8081")}
        self.running = []
        self.key = self.relay_port = None
        self.answers = list(ANSWERS)
        (directory / "exported").touch()
        program = directory / "portal-gateway"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m portal_gateway.cli "$@"\n')
        program.chmod(0o755)
        self.environment = {
            **programs.python_path(),
            "PATH": f"{directory}:{os.environ['PATH']}",
        }

    def here(self, text):
        for port, ours in self.ports.items():
            text = text.replace(port, str(ours))
        if self.key is not None:
            text = text.replace("sk_demo_…", self.key).replace("4017", self.relay_port)
        # The demonstration is what `make demo` starts when it has installed it.
        text = text.replace("make demo", f"portal-gateway demo --port {self.ports['8080']}")
        text = text.replace("python3", sys.executable)
        return text.replace("\n. .venv/bin/activate\n", "\n")

    def do(self, commands):
        before = f"set -eu\ncd {self.directory}\n. ./exported\n"
        ours = self.here(f"\n{commands}").strip()
        for what in READY:
            if commands.startswith(what):
                # The shell gives way, so that a signal reaches the command itself.
                self.begin(what, f"{before}exec {ours}")
                return
        done = subprocess.run(
            ["bash", "-c", f"{before}{ours}\nexport -p >exported"],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, **self.environment},
            timeout=60,
            check=True,
        )
        if self.answers and self.answers[0][0] in commands:
            assert self.answers.pop(0)[1] in done.stdout, (commands, done.stdout)

    def begin(self, what, script):
        program = programs.Program(what, ["bash", "-c", script], environment=self.environment)
        self.running.append(program)
        program.wait_for_line(READY[what])
        if what == "make demo":
            told = "\n".join(program.lines)
            self.key = re.search(r"^API key: (\S+)$", told, re.MULTILINE)[1]
            self.relay_port = re.search(r"--relay ws://127\.0\.0\.1:(\d+)/relay", told)[1]

    def end(self):
        for program in reversed(self.running):
            program.stop()


def test_the_quick_start_works_as_it_is_written(tmp_path):
    (tmp_path / "README.rst").write_bytes((programs.ROOT / "README.rst").read_bytes())
    terminal = Terminal(tmp_path)
    try:
        for kind, name, text in STEP.findall(PAGE):
            step = textwrap.dedent(text).strip() + "\n"
            if kind == "yaml":
                (tmp_path / name).write_text(terminal.here(step), encoding="utf-8")
            else:
                terminal.do(step)
    finally:
        terminal.end()
    assert terminal.answers == []
    assert len(terminal.running) == len(READY)
