"""Packaged config groups: plain YAML."""
