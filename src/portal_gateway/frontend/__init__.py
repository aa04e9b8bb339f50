"""Twisted I/O toward clients: the HTTP server, its resources and guards."""
