"""Objects that know the configuration they are made from."""

from __future__ import annotations

from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self

    from mizzen.config.buildable import Config
    from mizzen.config.diff import Difference

__all__ = ["ConfigurableMixin"]


class ConfigurableMixin:
    """Gives a dataclass `to_config`. Other classes override that method."""

    def to_config(self) -> Config[Self]:
        """The Config that builds an equal object.

        Raises:
            ConfigError: the class is no dataclass, or its fields don't say how it was made.
        """
        from mizzen.config.buildable import Config, _make, dataclass_to_config
        from mizzen.errors import ConfigError

        kind: type[Any] = type(self)
        if not hasattr(kind, "__dataclass_fields__"):
            raise ConfigError(f"`{kind.__qualname__}` is no dataclass, so its Config can't be had\nhint: define `to_config` in it")
        from mizzen.config.script import Script

        if kind is Script:
            # As a value a Script stays what it is; asked for its Config it has one all the same.
            return _make(Config, kind, {name: getattr(self, name) for name in kind.__dataclass_fields__}, [])
        config = dataclass_to_config(self)
        if not isinstance(config, Config):
            raise ConfigError(
                f"`{kind.__qualname__}` has an `__init__` or arguments that its fields don't tell\nhint: define `to_config` in it"
            )
        return config

    def diff(self, old: Any, trim: bool = True) -> Difference:
        """What changed from `old`, an object of the same kind or its Config, to this one."""
        return self.to_config().diff(old.to_config() if isinstance(old, ConfigurableMixin) else old, trim)

    def _repr_svg_(self) -> str | None:
        return self.to_config()._repr_svg_()
