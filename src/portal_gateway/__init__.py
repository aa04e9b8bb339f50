"""Portal Gateway decides who may call which Portal lease, and carries the call."""

__all__ = ["__version__"]

__version__ = "0.1.0"
