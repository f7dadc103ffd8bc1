"""The settings: what each accepts and its default, config.yaml read strictly, the JSON schema."""
