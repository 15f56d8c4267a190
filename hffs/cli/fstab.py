"""What mount(8) runs for the type `fuse.hffs`: a line of /etc/fstab becomes `hffs mount`.

Owns the command line of such a helper, the words of fstab(5) that are not for a file system, and
the exit codes of mount(8). Must not know any option of `hffs mount`: it asks the command for them.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hffs import cli
from hffs.cli.streams import open_missing
from hffs.cli.untrusted import clean_line
from hffs.errors import ConfigError, InterruptedRun, UsageError

_PREFIX = "hffs#"
_USAGE, _INTERRUPTED, _FAILURE = 1, 8, 32  # mount(8), "EXIT STATUS"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# For mount(8), systemd or the kernel: said of any file system, and either true of every mount of
# hffs or of no effect on one that is read-only. `rw` is there unless `ro` was asked for.
_NOT_OURS = {
    "ro", "rw", "nosuid", "nodev", "noexec", "defaults", "auto", "noauto", "nofail", "user",
    "users", "nouser", "owner", "group", "_netdev", "async", "atime", "noatime", "diratime",
    "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime",
    "nolazytime", "iversion", "noiversion", "silent", "loud", "default_permissions", "sync",
    "dirsync", "mand", "nomand",
}  # fmt: skip
_NOT_OURS_BEGIN = ("x-", "X-", "comment=", "uhelper=", "user=")
_SAY_NO = {
    "remount": "unmount it and mount it again",
    "suid": "nothing of a data set is run: leave it out",
    "dev": "nothing of a data set is a device: leave it out",
    "exec": "nothing of a data set is run: leave it out",
}
# A helper returns when the mount is there; the other two print and mount nothing.
_NO_OPTIONS = {"foreground", "explain", "help"}
_SWITCH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Call:
    """What mount(8) asked for; `is_fake` means to do all but mount, `is_sloppy` to pass over
    options that nobody knows.
    """

    spec: str
    folder: str
    options: tuple[str, ...] = ()
    is_fake: bool = False
    is_sloppy: bool = False


def main() -> None:
    """Entry point of mount.hffs and mount.fuse.hffs."""
    open_missing()
    _complete(os.environ)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Mount what a command line of mount(8) says; its exit code as mount(8) counts them."""
    try:
        call = parse_call(arguments)
        flags = list(translate(call, _find_options()))
    except (UsageError, ConfigError) as error:
        print(f"hffs: {clean_line(str(error))}", file=sys.stderr)
        return _USAGE
    if call.is_fake:
        return 0
    folder = os.path.abspath(call.folder)
    # A line of fstab means the same wherever mount(8) is called: no folder that is here by chance.
    with contextlib.chdir("/"):
        code = cli.run(["mount", *flags, "--", call.spec, folder])
    return {0: 0, UsageError.exit_code: _USAGE, InterruptedRun.exit_code: _INTERRUPTED}.get(
        code, _FAILURE
    )


def parse_call(arguments: Sequence[str]) -> Call:
    """Read `SPEC DIR [-sfnv] [-o OPTIONS] [-t TYPE]` in any order. UsageError if it is not that."""
    words, places, call = iter(arguments), list[str](), Call("", "")
    for word in words:
        if word in ("-o", "-t"):
            value = next(words, None)
            if value is None:
                raise UsageError("missing argument", f"of {word}")
            if word == "-o":
                call = replace(call, options=(*call.options, *split_options(value)))
        elif word.startswith("-") and len(word) > 1 and not set(word[1:]) - set("sfnv"):
            is_fake, is_sloppy = call.is_fake or "f" in word, call.is_sloppy or "s" in word
            call = replace(call, is_fake=is_fake, is_sloppy=is_sloppy)
        elif word.startswith("-"):
            raise UsageError("cannot use option", word, why="mount(8) gives -s -f -n -v -o -t")
        else:
            places.append(word)
    if len(places) != 2:
        why = f"{len(places)} were given"
        raise UsageError("cannot tell what to mount where", why=why, fix="give SPEC and DIR")
    return replace(call, spec=places[0].removeprefix(_PREFIX), folder=places[1])


def split_options(text: str) -> list[str]:
    r"""Options between commas, but for commas in double quotes and after a backslash.

    >>> split_options(r'ro,where="width IN (512, 768)",cache_dir=/a\,b')
    ['ro', 'where=width IN (512, 768)', 'cache_dir=/a,b']
    """
    options, quoted, letters = [""], False, iter(text)
    for letter in letters:
        if letter == "\\":
            following = next(letters, "")
            options[-1] += following if following in {",", '"', "\\"} else letter + following
        elif letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            options.append("")
        else:
            options[-1] += letter
    return [option for option in options if option]


def translate(call: Call, known: Mapping[str, Any]) -> Iterator[str]:
    """The flags of `hffs mount` for the options of a call; `known` are its options by name.

    Raises UsageError for an option that nobody knows, or with a value that it cannot have.
    """
    for option in call.options:
        name, equals, value = option.partition("=")
        if name in _NOT_OURS or option.startswith(_NOT_OURS_BEGIN):
            continue
        if name in _SAY_NO:
            raise UsageError("cannot mount with", name, fix=_SAY_NO[name])
        flag = known.get(name.replace("_", "-"))
        if flag is not None:
            yield _make_flag(flag, option, value if equals else None)
        elif not call.is_sloppy:
            fix = "options are those of `hffs mount`, without the dashes"
            raise UsageError("cannot use mount option", option, why="nobody knows it", fix=fix)


def _make_flag(flag: Any, option: str, value: str | None) -> str:
    if not flag.is_flag:
        if value is None:
            raise UsageError("cannot use mount option", option, why="it needs a value")
        return f"{flag.opts[0]}={value}"
    on = _SWITCH.get("true" if value is None else value.lower())
    names = flag.opts if on else flag.secondary_opts
    if on is None or not names:
        raise UsageError("cannot use mount option", option, why="it takes no such value")
    return str(names[0])


def _find_options() -> Mapping[str, Any]:
    """The options of `hffs mount` by their long names, as its parser has them."""
    found = cli.find_parameters("mount")
    named = {name: each for each in found for name in each.opts if name.startswith("--")}
    names = {name.removeprefix("--"): each for name, each in named.items()}
    return {name: each for name, each in names.items() if name not in _NO_OPTIONS}


def _complete(environ: MutableMapping[str, str]) -> None:
    """Set what mount(8) and systemd leave out: where programs are, and this user's home."""
    environ.setdefault("PATH", _PATH)
    if not environ.get("HOME"):
        environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
