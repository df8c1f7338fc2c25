"""The Core API dialect: ``CoreCloud`` for the engine, ``CoreApi`` for the commands that drive the API by hand."""
