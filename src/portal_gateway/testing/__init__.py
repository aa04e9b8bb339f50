"""Public in-memory fakes and the embedded relay, tested like product code."""
