"""Scripts for Redis, and calls of them as they are sent."""

import hashlib
from collections.abc import Sequence

__all__ = ["Call", "Script", "command"]


def command(*words: bytes) -> bytes:
    """A command as it is sent."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


class Script:
    """A script in Lua. Redis knows it by ``digest`` once it has run it."""

    __slots__ = ("digest", "source")

    def __init__(self, source: str) -> None:
        self.source = source.encode("utf-8")
        # SHA-1 is what Redis names scripts by.
        self.digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode("ascii")


class Call:
    """A script with its keys and arguments. It may be made once and asked often.

    ``by_digest`` is the command for a server that knows the script.
    """

    __slots__ = ("_arguments", "by_digest", "script")

    def __init__(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> None:
        self.script = script
        self._arguments = (b"%d" % len(keys), *keys, *arguments)
        self.by_digest = command(b"EVALSHA", script.digest, *self._arguments)

    @property
    def whole(self) -> bytes:
        """The command with the script, which the server then knows."""
        return command(b"EVAL", self.script.source, *self._arguments)
