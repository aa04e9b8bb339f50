"""The demonstration: a sample agent and everything needed to reach it."""
