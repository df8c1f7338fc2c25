"""The config file: TOML to pydantic to model, every fault at once."""
