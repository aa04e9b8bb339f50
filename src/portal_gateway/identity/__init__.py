"""What tells who callers are, where that has to be fetched: the keys of tokens' issuers."""
