"""Decisions about a request, pure: no Twisted, no sockets, time is an argument."""
