"""Twisted I/O toward Portal and other upstreams."""
