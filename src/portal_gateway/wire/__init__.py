"""The protocols as pure state machines: no Twisted, no sockets, time is an argument."""
