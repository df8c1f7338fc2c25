"""A Paperspace account that lives in memory and answers over real HTTP: the embedded default and the tests' peer.

``world`` is the account itself, ``core`` and ``v1`` are the two ways to speak to it, ``server`` listens.
"""
