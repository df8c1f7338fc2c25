"""The v1 API dialect: ``PaperspaceCloud`` for the engine, ``PaperspaceApi`` for the commands that go by hand."""
