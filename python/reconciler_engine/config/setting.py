"""The definition of a setting: its names, its meaning and its allowed values."""

from __future__ import annotations

from typing import Any, NamedTuple


class Setting(NamedTuple):
    """The definition of a setting.

    Attributes:
        name: Field of the configuration, and key in a settings file.
        meaning: Purpose of the setting, a sentence without full stop.
        allowed: Description of the allowed values, for error messages and `config init`.
        metavar: Kind of the value, in the option's help.
        default: Value if nothing is set.
        unset: Description of what None as default means; empty if it needs none.
        example: Value that `config init` shows if the default is None.
        hidden: Whether the value may be secret and is left out of messages.
        has_flag: Whether it has a command line option. Secrets have none, since all users of a machine can read it.
        former: Name in the previous version, which is still accepted; empty if there is none.
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
        """Meaning of the setting, and the effect of leaving it unset."""
        return f"{self.meaning}; unset: {self.unset}." if self.unset else f"{self.meaning}."

    @property
    def help(self) -> str:
        """Help text of the option."""
        return f"{self.explanation} [default: {self.default_text}]" if self.default_text else self.explanation

    @property
    def default_text(self) -> str:
        """Default as written on a command line; empty if there is none."""
        if self.default is None:
            return ""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        return ",".join(self.default) if isinstance(self.default, tuple) else str(self.default)
