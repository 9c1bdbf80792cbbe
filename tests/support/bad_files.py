"""Pipeline files of every kind that must not harm the pipelines beside them: by name, what puts one into a folder."""

import os
import socket
from pathlib import Path

GOOD = (Path(__file__).parents[2] / "dags" / "pipelines" / "card_transactions.yaml").read_text()
SECRET = "a line of another file"


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new).replace("card_transactions", "broken")


_BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))])
_MERGES = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12))]
)
_BIG_KEY = "k" * 100_000

#: name → content, and a word of the error.
TEXTS: dict[str, tuple[str | bytes, str]] = {
    "a duration beyond a timedelta": (changed("slide: 1m", "slide: 10000000000d"), "more than ten years"),
    "a duration of many parts": (changed("slide: 1m", "slide: " + "9d" * 10_000), "more than ten years"),
    "a number of 5000 digits": (changed("partitions: 2", "partitions: " + "9" * 5000), "cannot be read as a number"),
    "a version beyond any": (changed("version: 2", "version: " + "9" * 45), "less than or equal to 2147483647"),
    "a hexadecimal number without end": (changed("partitions: 2", "partitions: 0x" + "f" * 9000), "valid integer"),
    "a number in sixties": (changed("partitions: 2", "partitions: " + "1:" * 50_000 + "1"), "valid integer"),
    "a float in sixties": (changed("partitions: 2", "partitions: " + "1:" * 50_000 + "1.5"), "valid integer"),
    "an endless float": (changed("partitions: 2", "partitions: .inf"), "finite number"),
    "aliases that multiply": (_BOMB + "\nname: *a11\nsource: *a11\n", "once aliases are written out"),
    "merges that multiply": (_MERGES + "\nname: x\nsource: *a11\n", "once aliases are written out"),
    "an aggregate that multiplies": (f"{_BOMB}\n{changed('{avg: amount}', '*a11')}", "once aliases are written out"),
    "an alias inside of itself": ("name: &a [*a]", "stands inside of what it repeats"),
    "a chain of aliases": (
        "a0: &a0 []\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 3000)),
        "levels deep",
    ),
    "lists in lists": ("name: " + "[" * 100_000, "levels deep"),
    "mappings in mappings": ("{a: " * 30_000, "levels deep"),
    "a key in a key": ("? " * 60_000, "levels deep"),
    "an expression that multiplies": (
        changed("  idle_timeout: 30s", f'  where: "{"SQRT(" * 40}amount{")" * 40} > 1"'),
        "too large once it is compiled",
    ),
    "parentheses without end": (changed("  idle_timeout: 30s", f'  where: "{"(" * 9000}"'), "nested too deeply"),
    "an expression repeated": (
        f"e: &e {'amount + ' * 1000}1\nsource: {{derive: {{{', '.join(f'c{n}: *e' for n in range(999))}}}}}",
        "once aliases are written out",
    ),
    "Python in a tag": ("name: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "another tag": ("name: !!timestamp '99999-99-99'", "could not determine a constructor"),
    "a null byte": (
        changed("name: card_transactions\n", 'name: card_transactions\ndescription: "\\0"\n'),
        "cannot be printed",
    ),
    "half a character": (
        changed("name: card_transactions\n", 'name: x\ndescription: "\\ud800"\n'),
        "invalid Unicode character",
    ),
    "bytes that are no text": (b"name: \xff\xfe\x00", "not UTF-8 text"),
    "another encoding": (GOOD.encode("utf-16"), "not UTF-8 text"),
    "control characters": ("name: a\x01b", "control characters are not allowed"),
    "two documents": (GOOD + "---\n" + GOOD, "expected a single document"),
    "nothing": ("", "must be a mapping"),
    "a list": ("- name", "must be a mapping"),
    "a long key": (f"name: x\n? {_BIG_KEY}\n: 1", "unknown setting"),
    "ten thousand keys": ("".join(f"k{n}: 1\n" for n in range(10_000)), "and 9953 more"),
    "the word on as a column": (changed("amount: double}", "amount: double, on: double}"), 'write "on" in quotes'),
    "the pipeline of a neighbour": (GOOD, "another file of the folder is named"),
}


def _named_pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        # The name of a socket has room for 107 bytes.
        os.chdir(path.parent)
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 * 2**30)


def _link_out(path: Path) -> None:
    other = path.parents[1] / "secret.txt"
    other.write_text(f"{SECRET}: 1\n")
    path.symlink_to(other)


def _link_out_by_steps(path: Path) -> None:
    _link_out(path.with_suffix(".txt"))
    path.symlink_to(path.with_suffix(".txt").name)


#: name → what makes it, and a word of the error.
KINDS = {
    "a named pipe": (_named_pipe, "it is a named pipe, not a file"),
    "a socket": (_socket, "No such device or address"),
    "a folder": (Path.mkdir, "it is a folder, not a file"),
    "two gigabytes": (_huge, "more than 131072 bytes"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "a link to a file outside of its folder"),
    "a link to a growing file": (lambda path: path.symlink_to("/proc/self/environ"), "outside of its folder"),
    "a link to another file": (_link_out, "a link to a file outside of its folder"),
    "a link to a link": (_link_out_by_steps, "a link to a file outside of its folder"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "circle|Too many levels"),
}


def put(name: str, folder: Path, number: int) -> Path:
    """The bad file of that name in a folder of pipelines."""
    path = folder / f"zz_broken_{number}.yaml"
    if name in KINDS:
        KINDS[name][0](path)
    else:
        content = TEXTS[name][0]
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
