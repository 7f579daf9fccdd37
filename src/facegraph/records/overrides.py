"""Overrides as a shell and Hydra's grammar need them written."""

from __future__ import annotations

import re
import shlex


def literal(text: str) -> str:
    """A text as omegaconf holds it where its ${ is no interpolation: with a backslash before it.

    >>> literal("a${b}")
    'a\\\\${b}'
    """
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def quote_value(text: str) -> str:
    """A text as a value of a Hydra override, quoted where Hydra's grammar would read anything else in it."""
    if re.fullmatch(r"[\w./-]*/[\w./-]*", text, re.ASCII):  # with a slash it is no number and no word like null
        return text
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), literal(text))
    return f'"{escaped}"'


def for_shell(key: str, value: str) -> str:
    """key=value as a word of a command line, where the value is a text."""
    return shlex.quote(f"{key}={quote_value(value)}")


def why_unreadable(override: str) -> str:
    """What is wrong with an override that Hydra cannot read, and how to write it."""
    key, equals, value = override.partition("=")
    if not equals or not re.fullmatch(r"[+~]{0,2}[A-Za-z_][\w./@:-]*", key, re.ASCII):
        return f"'{override}' is no override: <setting>=<value> or <group>=<option> is needed. --help lists the groups."
    return (
        f"the override {override} cannot be read: a value with other characters than letters, digits and ._-/ is "
        f"written in quotes, for a shell as {for_shell(key, value)}"
    )


def why_ambiguous(override: str) -> str:
    """What a comma in the value of an override means, and how to write a text that has one."""
    key, _, value = override.partition("=")
    return (
        f"the override {override} lists several values, which takes -m. A text with a comma is written in quotes, for "
        f"a shell as {for_shell(key, value)}; a list as {shlex.quote(f'{key}=[{value}]')}"
    )
