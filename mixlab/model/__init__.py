"""MPT: the proxy model."""
