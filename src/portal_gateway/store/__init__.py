"""Stores outside of the process: Redis."""
