"""Configurations: a callable with arguments that can be read, changed, compared and written down before anything is called.

```text
Config(train, lr=3) ── checked against train's signature ──→ Buildable ── build() ──→ train(lr=3)
Partial(train, lr=3) ─────────────────────────────────────→ Buildable ── build() ──→ functools.partial(train, lr=3)
```

A Buildable's arguments live in its instance dictionary, so that reading one costs what any attribute costs, and an argument may
have any name, even that of a method. What the class itself keeps has names with double underscores: `__target__`,
`__positional__`, `__arguments__`.
"""

from __future__ import annotations

from typing import Any, Callable, Generic, Iterator, TypeVar, overload

from mizzen.config.signature import MISSING, Parameter, SignatureInfo, signature_of
from mizzen.config.target import Target, display_name, find_import_path
from mizzen.errors import ConfigError, ConfigTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

    from typing_extensions import Self

    from mizzen.config.building import build as build, iterate as iterate
    from mizzen.config.diff import Difference
    from mizzen.config.display import Graph

__all__ = ["Buildable", "Config", "Partial", "Target", "build", "iterate"]

T = TypeVar("T")

_SCALARS = frozenset({str, int, float, bool, type(None), bytes, complex})


class Buildable(Generic[T]):
    """What `Config` and `Partial` have in common. Make one of those.

    Attributes are the target's arguments: reading an unset one gives its default, setting one checks name and type at once.
    ``config[0]`` is the first positional argument, ``config["name"]`` the argument of that name, which need not be an identifier.
    """

    __slots__ = ("__dict__", "__positional__", "__target__", "__weakref__")

    __target__: Any
    __positional__: list[Any]
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, fn_or_cls: Any, /, *args: Any, **kwargs: Any) -> None:
        """Makes a configuration of a callable.

        Args:
            fn_or_cls: a function, class, or other callable; its import path as text; another Buildable (its arguments are taken over);
                or a dict, which gives a configuration of that dict.
            args: positional arguments.
            bind_args: whether values that are dataclass objects become Configs, and parameters get one that have it for their
                default, or ask for it by `OptionalDefaultConfig`.
            kwargs: arguments by name.

        Raises:
            ConfigError: the target can't be called or has no such argument.
            ConfigTypeError: a value has the wrong type; `path` says where.
        """
        bind_args = kwargs.pop("bind_args", True)
        target, given, named = _unpack(fn_or_cls)
        _set_target(self, target)
        _set_positional(self, given)
        arguments = self.__dict__
        arguments.update(named)
        if target is dict and len(args) == 1 and _is_named(args[0]):
            # `Config(dict, {"a": 1})` is `Config({"a": 1})`.
            kwargs = {**args[0], **kwargs}
            args = ()
        if args or kwargs or named or bind_args:
            info = self.__signature_info__() if args or kwargs or not isinstance(target, Target) else None
            memo: dict[int, Any] | None = {} if bind_args else None
            if args:
                _bind_positional(self, info, args, memo)
            for name, value in kwargs.items():
                if type(value) not in _SCALARS:
                    value = _admit(value, memo)
                if info is not None:
                    parameter = info.parameters.get(name)
                    if parameter is None or parameter.positional_only:
                        _assign(self, info, name, value)
                        continue
                    if name in info.positional[: len(given)]:
                        raise ConfigError(f"`{info.name}` gets `{name}` twice, by position and by name", path=f".{name}")
                    test = parameter.checker
                    if test is not None and value is not parameter.default:
                        mismatch = test(value, "." + name)
                        if mismatch is not None:
                            raise _type_error(info, mismatch)
                arguments[name] = value
            if bind_args and info is not None and info.automatic:
                for name, make in info.automatic:
                    if name not in arguments and name not in info.positional[: len(given)]:
                        arguments[name] = make()

    @property
    def __arguments__(self) -> dict[str, Any]:
        """The arguments that were set, by name, in the order in which they were set. Not a copy."""
        return self.__dict__

    def __signature_info__(self) -> SignatureInfo | None:
        """What the target takes; None if it may not be imported yet. Imports a target that was read from a document."""
        target = self.__target__
        if isinstance(target, Target):
            if target.deferred:
                return None
            target = target.resolve()
        return signature_of(target)

    def __getattr__(self, name: str) -> Any:
        # Only asked for what is neither set nor a method. Dunder names and display hooks never import a target.
        if name.startswith(("__", "_repr_", "_ipython_")):
            raise AttributeError(name)
        value = _default(self, name)
        if value is MISSING:
            raise AttributeError(_no_value(self, name))
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") and name.endswith("__"):
            if name in ("__target__", "__positional__"):
                object.__setattr__(self, name, value)
                return
            # `Config[T](…)` tries to note its alias here, and takes no for an answer.
            raise AttributeError(f"`{name}` can't be set")
        if type(value) not in _SCALARS:
            value = _admit(value, None)
        _assign(self, self.__signature_info__(), name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            del self.__dict__[name]
            return
        raise AttributeError(f"`{name}` of `{display_name(self.__target__)}` was not set")

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, int):
            return self.__positional__[key]
        if key in self.__dict__:
            return self.__dict__[key]
        value = _default(self, key)
        if value is MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: int | str, value: Any) -> None:
        if isinstance(key, str):
            _assign(self, self.__signature_info__(), key, _admit(value, None))
            return
        value = _admit(value, None)
        index = key + len(self.__positional__) if key < 0 else key
        if not 0 <= index < len(self.__positional__):
            raise IndexError(f"`{display_name(self.__target__)}` has {len(self.__positional__)} positional arguments here, so none at {key}")
        info = self.__signature_info__()
        if info is not None and not info.open:
            _check_position(info, index, value)
        self.__positional__[index] = value

    def __contains__(self, key: object) -> bool:
        return key in self.__dict__

    def __iter__(self) -> Iterator[Any]:
        # `__getitem__` alone would make every Config look like a sequence.
        raise TypeError(f"a {type(self).__name__} can't be iterated over\nhint: `vars(config)` has its arguments by name")

    def __dir__(self) -> list[str]:
        names = {name for name in object.__dir__(self)}
        try:
            info = self.__signature_info__()
        except Exception:
            info = None
        return sorted(names | set(info.parameters) if info is not None else names)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Buildable):
            return NotImplemented
        return _equal(self, other)

    def __repr__(self) -> str:
        from mizzen.config.display import source

        return source(self)

    def __copy__(self) -> Self:
        return _make(type(self), self.__target__, dict(self.__dict__), list(self.__positional__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        from copy import deepcopy

        copied = _make(type(self), self.__target__, {}, [])
        memo[id(self)] = copied
        copied.__positional__.extend(deepcopy(value, memo) if type(value) not in _SCALARS else value for value in self.__positional__)
        arguments = copied.__dict__
        for name, value in self.__dict__.items():
            arguments[name] = value if type(value) in _SCALARS or callable(value) and not isinstance(value, Buildable) else deepcopy(value, memo)
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        return (_make, (type(self), self.__target__, {}, []), (self.__dict__, self.__positional__))

    def __setstate__(self, state: tuple[dict[str, Any], list[Any]]) -> None:
        self.__dict__.update(state[0])
        self.__positional__.extend(state[1])

    def clone(self) -> Self:
        """A deep copy; what is shared within it stays shared."""
        return Buildable.__deepcopy__(self, {})

    def walk(self, **changes: Callable[[Any], Any]) -> Self:
        """Sets arguments throughout the tree, in place.

        Args:
            changes: for each name a function; wherever a Config or Partial takes an argument of that name, at any depth and
                within lists, tuples and dicts too, the argument becomes what the function returns for that Config.

        Returns:
            self.
        """
        from mizzen.config.building import iterate

        for _, part in list(iterate(self)):
            for name, change in changes.items():
                if _takes(part, name):
                    setattr(part, name, change(part))
        return self

    def broadcast(self, **values: Any) -> Self:
        """Sets arguments throughout the tree to the same value, in place: see `walk`. Returns self."""
        from mizzen.config.building import iterate

        for _, part in list(iterate(self)):
            for name, value in values.items():
                if _takes(part, name):
                    setattr(part, name, value)
        return self

    def diff(self, old: Any, trim: bool = True) -> Difference:
        """What changed from `old` to this: print it, loop over it, or `visualize()` it.

        Args:
            old: another Config, Partial or value.
            trim: whether to leave out of a picture what is the same in both.
        """
        from mizzen.config.diff import difference

        return difference(old, self, trim=trim)

    def visualize(self, **options: Any) -> Graph:
        """A picture of the tree, drawn by graphviz's `dot` when it is shown or saved.

        Args:
            options: graphviz attributes of the graph, such as ``rankdir="LR"``.
        """
        from mizzen.config.display import visualize

        return visualize(self, **options)

    def save_config_img(self, path: str | PathLike[str], **options: Any) -> None:
        """Writes the picture into a file: its ending says in which format (``.png``, ``.svg``, ``.pdf``).

        Args:
            path: a file, or an existing folder, into which ``config.png`` is written.

        Raises:
            InstallationError: graphviz's `dot` is not installed.
        """
        from mizzen.config.display import visualize

        visualize(self, **options).save(path)

    def _repr_svg_(self) -> str | None:
        from mizzen.config.display import visualize

        return visualize(self)._repr_svg_()

    def _repr_html_(self) -> str:
        from mizzen.config.display import html

        return html(self)

    def to_dict(self) -> dict[str, Any]:
        """The document, as a tree that JSON can write (see `mizzen.config.values`)."""
        from mizzen.config.values import encode

        document: dict[str, Any] = encode(self)
        return document

    def to_json(self) -> str:
        """The document as JSON text."""
        from mizzen.config.documents import dumps

        return dumps(self, "json")

    def to_yaml(self) -> str:
        """The document as YAML text."""
        from mizzen.config.documents import dumps

        return dumps(self, "yaml")

    def to_toml(self) -> str:
        """The document as TOML text."""
        from mizzen.config.documents import dumps

        return dumps(self, "toml")


class Config(Buildable[T]):
    """A callable and its arguments; building calls it.

    >>> Config(dict, a=1)
    Config(dict, a=1)
    """

    __slots__ = ()

    if TYPE_CHECKING:
        # `bind_args` is among the keyword arguments, so that `**arguments` of any type may be given.
        @overload
        def __init__(self: Config[dict[str, Any]], fn_or_cls: type[dict[Any, Any]] | dict[Any, Any], /, *args: Any, **kwargs: Any) -> None: ...
        @overload
        def __init__(self: Config[Any], fn_or_cls: Target | str, /, *args: Any, **kwargs: Any) -> None: ...
        @overload
        def __init__(self, fn_or_cls: Callable[..., T] | Buildable[T], /, *args: Any, **kwargs: Any) -> None: ...
        def __init__(self, fn_or_cls: Any, /, *args: Any, **kwargs: Any) -> None: ...


class Partial(Buildable[T]):
    """A callable and some of its arguments; building gives a `functools.partial`, whose nested Configs are built once, then."""

    __slots__ = ()

    if TYPE_CHECKING:
        # `bind_args` is among the keyword arguments, so that `**arguments` of any type may be given.
        @overload
        def __init__(self: Partial[dict[str, Any]], fn_or_cls: type[dict[Any, Any]] | dict[Any, Any], /, *args: Any, **kwargs: Any) -> None: ...
        @overload
        def __init__(self: Partial[Any], fn_or_cls: Target | str, /, *args: Any, **kwargs: Any) -> None: ...
        @overload
        def __init__(self, fn_or_cls: Callable[..., T] | Buildable[T], /, *args: Any, **kwargs: Any) -> None: ...
        def __init__(self, fn_or_cls: Any, /, *args: Any, **kwargs: Any) -> None: ...


# Past `Buildable.__setattr__`, which takes these names for arguments.
_set_target = vars(Buildable)["__target__"].__set__
_set_positional = vars(Buildable)["__positional__"].__set__

B = TypeVar("B", bound=Buildable[Any])


def _make(kind: type[B], target: Any, arguments: dict[str, Any], positional: list[Any]) -> B:
    """A Buildable of what is known to be right: nothing is checked or converted."""
    made = object.__new__(kind)
    _set_target(made, target)
    _set_positional(made, positional)
    made.__dict__.update(arguments)
    return made


def _unpack(target: Any) -> tuple[Any, list[Any], dict[str, Any]]:
    """What was given as a target, as (callable or Target, positional arguments, arguments by name)."""
    if isinstance(target, type):
        return target, [], {}
    if isinstance(target, Buildable):
        return target.__target__, list(target.__positional__), dict(target.__dict__)
    if isinstance(target, Target):
        return Target(target.path, deferred=True) if target.deferred else target, [], {}
    if isinstance(target, str):
        return Target(target), [], {}
    if isinstance(target, dict):
        if _is_named(target):
            return dict, [], {key: _admit(value, {}) for key, value in target.items()}
        return dict, [_admit(target, {})], {}
    from functools import partial
    from typing import get_origin

    if isinstance(target, partial):
        inner, positional, named = _unpack(target.func)
        return inner, [*positional, *target.args], {**named, **target.keywords}
    if is_fiddle(target):
        from mizzen.config.fiddle import from_fiddle

        return _unpack(from_fiddle(target, {}))
    origin = get_origin(target)
    if isinstance(origin, type):
        # `Config(dict[str, int])`: what is called is the class.
        return origin, [], {}
    if not callable(target):
        raise ConfigError(f"{target!r} can't be configured: it can't be called\nhint: give a function or a class")
    return target, [], {}


def _is_named(value: Any) -> bool:
    """Whether a value is a dict whose items can be arguments."""
    return type(value) is dict and all(type(key) is str for key in value)


def _bind_positional(config: Buildable[Any], info: SignatureInfo | None, args: tuple[Any, ...], memo: dict[int, Any] | None) -> None:
    values = [_admit(value, memo) for value in args]
    positional = config.__positional__
    if info is None or info.open or positional:
        positional.extend(values)
        return
    names = info.positional
    if len(values) > len(names) and info.var_positional is None:
        raise ConfigError(f"`{info.name}` takes at most {len(names)} positional arguments, but got {len(values)}")
    for index, value in enumerate(values):
        _check_position(info, index, value)
    if len(values) > len(names):
        # `*args` follow only what is given by position.
        positional.extend(values)
        return
    for name, value in zip(names, values):
        if info.parameters[name].positional_only:
            positional.append(value)
        else:
            config.__dict__[name] = value


def _check_position(info: SignatureInfo, index: int, value: Any) -> None:
    parameter = info.parameters[info.positional[index]] if index < len(info.positional) else info.var_positional
    if parameter is not None:
        _check(info, parameter, value, f".{parameter.name}" if index < len(info.positional) else f"[{index}]")


def _check_named(info: SignatureInfo, name: str, value: Any) -> None:
    parameter = info.parameters.get(name) or info.var_keyword
    if parameter is None:
        raise ConfigError(_unknown(info, name), path=f".{name}")
    _check(info, parameter, value, f".{name}")


def _check(info: SignatureInfo, parameter: Parameter, value: Any, path: str) -> None:
    if parameter.checker is not None and value is not parameter.default:
        mismatch = parameter.checker(value, path)
        if mismatch is not None:
            raise _type_error(info, mismatch)


def _type_error(info: SignatureInfo, mismatch: Any) -> ConfigTypeError:
    from mizzen.config.check import describe

    return ConfigTypeError(describe(mismatch, info.name), path=mismatch.path)


def _assign(config: Buildable[Any], info: SignatureInfo | None, name: str, value: Any) -> None:
    """Sets an argument by name, checked."""
    if info is None or info.open:
        config.__dict__[name] = value
        return
    _check_named(info, name, value)
    parameter = info.parameters.get(name)
    if parameter is None:
        config.__dict__[name] = value
        return
    positional = config.__positional__
    if not parameter.keyword_only:
        index = info.positional.index(name)
        if index < len(positional):
            positional[index] = value
            return
        if parameter.positional_only:
            for earlier in info.positional[len(positional) : index]:
                default = _default(config, earlier)
                if default is MISSING:
                    raise ConfigError(f"`{info.name}` takes `{name}` by position only, after `{earlier}`, which is not set", path=f".{name}")
                positional.append(default)
            positional.append(value)
            return
    config.__dict__[name] = value


def _unknown(info: SignatureInfo, name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(info.parameters), n=1)
    if near:
        hint = f"did you mean `{near[0]}`?"
    elif info.parameters:
        names = list(info.parameters)
        hint = f"it has {', '.join(f'`{known}`' for known in names[:12])}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    else:
        hint = "it has none"
    return f"`{info.name}` has no argument `{name}`\nhint: {hint}"


def _no_value(config: Buildable[Any], name: str) -> str:
    info = config.__signature_info__()
    if info is None:
        return f"`{name}` of `{display_name(config.__target__)}` was not set"
    if name in info.parameters:
        return f"`{name}` of `{info.name}` was not set, and has no default"
    return _unknown(info, name) if info.var_keyword is None and not info.open else f"`{name}` of `{info.name}` was not set"


def _default(config: Buildable[Any], name: str) -> Any:
    """The value of an argument that is not set by name: given by position, or by default; MISSING if there is neither."""
    try:
        info = config.__signature_info__()
    except (ConfigError, ImportError) as error:
        raise AttributeError(f"`{name}` is not set, and its default can't be had: {error}") from error
    parameter = info.parameters.get(name) if info is not None else None
    if info is None or parameter is None:
        return MISSING
    if not parameter.keyword_only:
        index = info.positional.index(name)
        if index < len(config.__positional__):
            return config.__positional__[index]
    if parameter.factory is not None:
        factory = parameter.factory
        made = Config(factory) if isinstance(factory, type) and hasattr(factory, "__dataclass_fields__") else factory()
        value = _admit(made, {})
    elif type(parameter.default) in _SCALARS or parameter.default is MISSING:
        return parameter.default
    else:
        value = parameter.default
        if isinstance(value, Buildable):
            value = value.clone()
        elif type(value) in (list, dict, set):
            from copy import deepcopy

            value = _admit(deepcopy(value), {})
        elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
            value = _admit(value, {})
            if not isinstance(value, Buildable):
                return value
        else:
            return value
    if not parameter.positional_only:
        # What can be changed in place is kept: `config.layers.append(3)` is to change this Config, not every call's default.
        config.__dict__[name] = value
    return value


def _takes(config: Buildable[Any], name: str) -> bool:
    if name in config.__dict__:
        return True
    info = config.__signature_info__()
    return info is not None and name in info.parameters


def _equal(left: Buildable[Any], right: Buildable[Any]) -> bool:
    if isinstance(left, Partial) is not isinstance(right, Partial):
        return False
    if left.__target__ is not right.__target__:
        path = find_import_path(left.__target__)
        if path is None or path != find_import_path(right.__target__):
            return False
    if not _same(left.__positional__, right.__positional__):
        return False
    ours, theirs = left.__dict__, right.__dict__
    for name in ours.keys() | theirs.keys():
        # An argument set to its default is the same as one not set.
        mine = ours[name] if name in ours else _peek(left, name)
        other = theirs[name] if name in theirs else _peek(right, name)
        if not _same(mine, other):
            return False
    return True


def _peek(config: Buildable[Any], name: str) -> Any:
    """An argument's default, without keeping it."""
    try:
        return _default(_make(type(config), config.__target__, {}, list(config.__positional__)), name)
    except Exception:
        return MISSING


def _same(left: Any, right: Any) -> bool:
    if left is right:
        return True
    try:
        return bool(left == right)
    except Exception:
        # Arrays compare to arrays.
        try:
            return bool((left == right).all())
        except Exception:
            return False


def _admit(value: Any, memo: dict[int, Any] | None, inside: tuple[int, ...] = ()) -> Any:
    """A value as it is kept: fiddle's Buildables become ours, and with a memo dataclass objects become Configs."""
    kind = type(value)
    if kind in _SCALARS or isinstance(value, (Buildable, type)):
        return value
    if id(value) in inside:
        # A list that holds itself: it can't be written down, but a Config may have it.
        return value
    if kind is list or kind is tuple:
        inside = (*inside, id(value))
        admitted = [item if type(item) in _SCALARS else _admit(item, memo, inside) for item in value]
        if all(new is old for new, old in zip(admitted, value)):
            return value
        return admitted if kind is list else tuple(admitted)
    if kind is dict:
        inside = (*inside, id(value))
        changed = {key: item if type(item) in _SCALARS else _admit(item, memo, inside) for key, item in value.items()}
        return changed if any(changed[key] is not item for key, item in value.items()) else value
    if memo is not None and hasattr(kind, "__dataclass_fields__"):
        return dataclass_to_config(value, memo)
    if is_fiddle(value):
        from mizzen.config.fiddle import from_fiddle

        return from_fiddle(value, {} if memo is None else memo)
    return value


def dataclass_to_config(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """The Config that builds an equal dataclass object; the object itself where its fields don't say how it was made."""
    memo = {} if memo is None else memo
    found = memo.get(id(value))
    if found is not None:
        return found[1]
    kind = type(value)
    fields = kind.__dataclass_fields__
    by_init = [name for name, field in fields.items() if field.init and field._field_type.name == "_FIELD"]
    if (
        is_script(kind)
        or not kind.__dataclass_params__.init
        or any(field._field_type.name == "_FIELD_INITVAR" for field in fields.values())
        or any(not hasattr(value, name) for name in by_init)
    ):
        return value
    made: Config[Any] = _make(Config, kind, {}, [])
    # The object stays in the memo, so that its id is not used again meanwhile.
    memo[id(value)] = (value, made)
    for name in by_init:
        made.__dict__[name] = _admit(getattr(value, name), memo)
    return made


def is_script(kind: type[Any]) -> bool:
    """Whether a class is our Script, which has a form of its own; told by name, as most configurations have none."""
    return kind.__name__ == "Script" and kind.__module__ == "mizzen.config.script"


def is_fiddle(value: Any) -> bool:
    """Whether a value is one of fiddle's Buildables, told by the names of its classes: fiddle is never imported."""
    kind = type(value)
    if kind.__module__ in ("builtins", "types", "pathlib", "enum", "functools"):
        return False
    return any(base.__name__ == "Buildable" and base.__module__.partition(".")[0] == "fiddle" for base in kind.__mro__)


def __getattr__(name: str) -> Any:
    # `building` needs the classes above.
    if name in ("build", "iterate"):
        from mizzen.config import building

        return getattr(building, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
