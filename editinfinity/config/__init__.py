"""Strict loading of config.yaml; generation of its default version and of its JSON schema."""
