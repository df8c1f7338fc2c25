"""How ``fleetd machines`` asks the provider, and tells what it answered."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
from rich.console import RenderableType
from rich.text import Text

from fleetd import wiring
from fleetd.cli.failures import UsageError, leaf, usage
from fleetd.cli.output import say, show, show_json
from fleetd.cloud.port import Json, MachinesApi
from fleetd.model.errors import NotFound
from fleetd.model.settings import Settings
from fleetd.ops.escape import printable

T = TypeVar("T")

Question = Callable[[MachinesApi, Settings], Awaitable[T]]


def about(
    word: str,
    config: Path | None,
    question: Callable[[MachinesApi, Settings, str], Awaitable[T]],
    *,
    former: bool = True,
    soon: bool = False,
) -> tuple[str, T]:
    """Ask something about one machine; returns its id (reported where a name was given) and the answer.

    Args:
        word: an id, or a name that only one machine has.
        config: as the command was given it.
        question: asked with the machine's id. Of what looks like an id and is none, nothing was done: it is asked
            again with the id of the machine that is called so.
        former: whether a name that it had before will do.
        soon: whether a person waits for it, as ``look`` says.
    """
    way = look if soon else ask
    unknown: BaseException | None = None
    if looks_like_an_id(word):
        try:
            return word, way(config, lambda api, settings: question(api, settings, word))
        except BaseException as error:
            if not isinstance(leaf(error), NotFound):
                raise
            unknown = error
    machine_id = _id_of(word, config, former=former)
    if unknown is not None and machine_id == word:
        raise unknown
    return machine_id, way(config, lambda api, settings: question(api, settings, machine_id))


def looks_like_an_id(word: str) -> bool:
    """Whether the vendor's ids look like this: such a word is looked up only where it is no id."""
    return re.fullmatch(r"ps[0-9a-z]+", word, re.ASCII) is not None


def look(config: Path | None, question: Question[T]) -> T:
    """Ask something that changes nothing, and give up while the person still waits."""

    async def in_time(api: MachinesApi, settings: Settings) -> T:
        with wiring.within():
            return await question(api, settings)

    return ask(config, in_time)


def ask(config: Path | None, question: Question[T]) -> T:
    """Ask something of the provider that the config names."""
    settings = wiring.load_settings(wiring.find_config(config))

    async def asked() -> T:
        async with wiring.open_machines_api(settings) as api:
            return await question(api, settings)

    return anyio.run(asked)


def tell(content: object, view: RenderableType, *, as_json: bool) -> None:
    """What the provider said: as its own JSON, or for people."""
    if as_json:
        show_json(content)
    else:
        show(view)


def tell_done(answer: Json | None, done: str, *, as_json: bool) -> None:
    """The provider answers most writes with nothing at all: say that it took it."""
    if as_json:
        show_json(answer)
    else:
        show(Text(printable(done)))


def _id_of(word: str, config: Path | None, *, former: bool) -> str:
    settings = wiring.load_settings(wiring.find_config(config))
    with usage():
        named = anyio.run(wiring.machine_meant, settings, word)
    if named.former == word and not former:
        raise UsageError(f"{word} is what {named.id} was called before; it is {named.name} now: give its id")
    if named.id != word:
        say(f"{printable(word)} is {named.id}" + (f", called {printable(named.name)} now" if named.former else ""))
    return named.id
