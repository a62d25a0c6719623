"""Overrides to a configuration, for programs: what the command line does, without running anything.

>>> parse_partial(train, "steps=10", "model.hidden*=2")
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mizzen.cli.arguments import Assignment, Positional, parse_token
from mizzen.cli.signature import namespace_of
from mizzen.cli.values import Scope, convert

__all__ = ["configure", "parse_cli_args", "parse_config", "parse_factory", "parse_partial", "parse_value"]


def parse_cli_args(fn: Any, args: Sequence[str], output_type: Any = None) -> Any:
    """Reads overrides and positional values for a callable.

    Args:
        fn: a function or class; or a ``Config`` or ``Partial``, which is copied and changed.
        args: them, as on a command line: ``["5", "model.hidden=3", "lr*=10"]``.
        output_type: ``Config`` or ``Partial`` (the default for callables; otherwise what ``fn`` is).

    Returns:
        the ``Config`` or ``Partial`` with the arguments set.

    Raises:
        ArgumentError: an argument is wrong.
    """
    from mizzen.cli.assign import is_buildable, target_of
    from mizzen.config import Config, Partial

    kind: Any = output_type if output_type is not None else Partial
    if is_buildable(fn) and hasattr(type(fn), "resolve"):  # a LazyEntrypoint: it is imported now
        fn = fn.resolve()
    config: Any = fn.clone() if is_buildable(fn) and hasattr(fn, "clone") else None
    if config is None:
        config = kind(fn)
    elif output_type is not None and type(config) is not output_type or not isinstance(config, (Config, Partial)):
        config = kind(config)
    configure(config, [parse_token(text) for text in args], namespace_of(target_of(config)))
    return config


def parse_partial(fn: Any, *args: str) -> Any:
    """A ``Partial`` of a callable with overrides: ``parse_partial(train, "lr=0.1")``."""
    from mizzen.config import Partial

    return parse_cli_args(fn, args, Partial)


def parse_config(fn: Any, *args: str) -> Any:
    """A ``Config`` of a callable with overrides: ``parse_config(Model, "hidden=3")``."""
    from mizzen.config import Config

    return parse_cli_args(fn, args, Config)


def parse_value(value: str, annotation: object, namespace: Mapping[str, object] | None = None) -> object:
    """Reads one value as an annotation asks for.

    Args:
        value: the text.
        annotation: a type or typing form.
        namespace: where names of factories and classes are looked up besides the registered ones.

    Raises:
        ArgumentError: it can't be read so.
    """
    return convert(value, annotation, Scope(None, "", "value", value, namespace))


def parse_factory(parent: Callable[..., object], arg_name: str, arg_type: object, value: str) -> object:
    """Reads ``name`` or ``name(arg=value)`` as the value of an argument of a function."""
    return convert(value, arg_type, Scope(parent, arg_name, arg_name, value, namespace_of(parent)))


def configure(
    config: Any,
    tokens: Sequence[Assignment | Positional],
    namespace: Mapping[str, object],
    *,
    skip: tuple[str, ...] = (),
    transform: Callable[[str, str], str] | None = None,
) -> None:
    """Applies overrides and positional values in their order, then fills in defaults that come from factories.

    Args:
        config: the ``Config`` or ``Partial``, changed in place.
        tokens: what the user wrote.
        namespace: the names that are visible.
        skip: arguments that are given otherwise, and are not the user's to give.
        transform: what to do with each value's text: (text, argument) to text.
    """
    from mizzen.cli import assign

    inside = None
    if transform is not None:
        given = transform

        def inside(text: str) -> str:
            return given(text, text)

    scope = Scope(namespace=namespace, transform=inside)
    places = assign.Positions(config, skip)
    for token in tokens:
        if transform is not None:
            token = typing.cast("Any", token)._replace(value=transform(token.value, token.text))
        if isinstance(token, Positional):
            places.give(token, scope)
        else:
            if token.path[0] in skip:
                raise assign.not_given_here(token, config)
            assign.apply(config, token, scope)
    assign.complete(config, scope, skip=skip)
