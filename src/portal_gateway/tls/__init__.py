"""TLS toward clients: certificates from files, checked, and taken anew when the files change."""

__all__: list[str] = []
