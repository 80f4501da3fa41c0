"""A setting as people meet it: its names, its meaning, and the values it takes."""

from __future__ import annotations

from typing import Any, NamedTuple


class Setting(NamedTuple):
    """A setting as people meet it.

    Attributes:
        name: Field of the configuration, and key in a settings file.
        meaning: Use of the setting, a sentence without its full stop.
        allowed: Values that are taken, for faults and `config init`.
        metavar: Kind of the value, in the option's help.
        default: Value where nothing is set.
        unset: Words for a default of None; empty where nothing takes its place.
        example: Value that `config init` shows in the place of a default of None.
        hidden: Whether the value may hold a secret and stays out of messages.
        has_flag: Whether the command line takes it, where every user of the machine can read it.
        former: Name of one version ago, which is still taken; empty without one.
    """

    name: str
    meaning: str
    allowed: str
    metavar: str
    default: Any = None
    unset: str = ""
    example: Any = None
    hidden: bool = False
    has_flag: bool = True
    former: str = ""

    @property
    def flag(self) -> str:
        """Command line option, such as `--batch-size`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Environment variable, such as `RECONCILER_BATCH_SIZE`."""
        return f"RECONCILER_{self.name.upper()}"

    @property
    def explanation(self) -> str:
        """Meaning, and the effect of leaving it unset."""
        return f"{self.meaning}; unset: {self.unset}." if self.unset else f"{self.meaning}."

    @property
    def help(self) -> str:
        """Help of the option."""
        return f"{self.explanation} [default: {self.default_text}]" if self.default_text else self.explanation

    @property
    def default_text(self) -> str:
        """Default as a flag writes it; empty where there is none."""
        if self.default is None:
            return ""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        return ",".join(self.default) if isinstance(self.default, tuple) else str(self.default)
