"""Write docs/reference: every operator and its kin, from the registry itself, with examples that are run.

    python docs/reference.py [--check]

One page a group, an index, and pictures of what people would rather look at. `--check` writes nothing and fails where a page
differs from what would be written. Fails, too, for an operator whose example cannot be made: its declaration gives one with
`example=`, an expression of what `esd.examples` has.
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference_pictures as pictures  # noqa: E402 - beside this file
from reference_entries import Entry, Problems, kin, operators  # noqa: E402 - beside this file
from reference_examples import imports  # noqa: E402 - beside this file

from esd.examples import MADE  # noqa: E402 - after the paths

FOLDER = HERE / "reference"
MARK = "Made by `docs/reference.py` from the registry; not to be edited."
LETTERS = "L its own number, B all bands and times, T all times, F the pixels around, X the whole grid"


def file_of(title: str) -> str:
    """Return the name of the page of a group."""
    return title.replace(" ", "-").lower() + ".md"


def anchor_of(name: str) -> str:
    """Return the address of an entry within its page, as GitHub makes it of the heading."""
    return re.sub(r"[^\w-]", "", name.lower())


def plain(text: str) -> str:
    """Return documentation as Markdown: what looks like HTML outside of code is not."""
    parts = text.split("`")
    return "`".join(part if i % 2 else re.sub(r"<(?=[\w/])", "&lt;", part) for i, part in enumerate(parts))


def entry(one: Entry) -> list[str]:
    """Return the lines of an entry."""
    lines = [f"### {one.name}", "", f"`{one.call}`", "", plain(one.doc), ""]
    if one.facts:
        lines += ["; ".join(f"{what}: {value}" for what, value in one.facts) + ".", ""]
    picture = pictures.PICTURES.get(one.name)
    if picture is not None:
        caption = picture.caption[0].upper() + picture.caption[1:]
        lines += [f"![{caption}](images/{one.name}.png)", "", f"{caption}.", ""]
    if one.example is not None:
        lines += ["```pycon", f">>> show({one.example.code})", *one.example.output.splitlines(), "", "```", ""]
    return lines


def page(title: str, entries: list[Entry]) -> str:
    """Return a page: what it needs, then its entries."""
    lines = [f"# {title}", "", f"{MARK} [All pages](index.md)", ""]
    examples = [one.example for one in entries if one.example is not None]
    if examples:
        lines += ["```pycon", *(f">>> {line}" for line in imports(examples)), "", "```", ""]
    for one in entries:
        lines += entry(one)
    return "\n".join(lines).rstrip() + "\n"


def index(groups: dict[str, list[Entry]], others: dict[str, list[Entry]]) -> str:
    """Return the index: a line for everything that has an entry."""
    number = sum(map(len, groups.values()))
    lines = ["# Reference", "", MARK, "", f"{number} operators, each a method of images and known to `esd operators`.", ""]
    lines += [f"Of each it is told what a number of the result needs ({LETTERS}),"]
    lines += [
        "the space of numbers that it asks for, the rule for masks where the text has none, its vector code or why NumPy"
    ]
    lines += ["computes it, and openEO's name. The examples use small images, which `from esd.examples import ...` has:", ""]
    lines += [f"* `{name}`: {what}" for name, (what, _make) in MADE.items()]
    for heading, chosen in (("Operators", groups), ("Beside operators", others)):
        lines += ["", f"## {heading}"]
        for title, entries in chosen.items():
            lines += ["", f"### [{title}]({file_of(title)})", ""]
            lines += [f"* [{one.name}]({file_of(title)}#{anchor_of(one.name)}): {plain(one.summary)}" for one in entries]
    return "\n".join(lines) + "\n"


def pages() -> tuple[dict[str, str], list[str]]:
    """Return all pages by the names of their files, and what went wrong."""
    problems = Problems()
    groups, others = operators(problems), kin(problems)
    written = {file_of(title): page(title, entries) for title, entries in (groups | others).items()}
    names = {one.name for entries in groups.values() for one in entries}
    lost = [f"picture of {name!r}: there is no such operator" for name in pictures.PICTURES if name not in names]
    return written | {"index.md": index(groups, others)}, problems.lines + lost


def main(arguments: list[str]) -> int:
    """Write or check the pages."""
    warnings.simplefilter("ignore")
    written, problems = pages()
    present = {path.name for path in FOLDER.glob("*.md")}
    if "--check" in arguments:
        different = [name for name, text in written.items() if name not in present or (FOLDER / name).read_text() != text]
        different += sorted(present - written.keys()) + pictures.different(FOLDER / "images")
        problems += [
            f"docs/reference/{name} is not what the registry says; run: python docs/reference.py" for name in different
        ]
    else:
        FOLDER.mkdir(exist_ok=True)
        for name in present - written.keys():
            (FOLDER / name).unlink()
        for name, text in written.items():
            (FOLDER / name).write_text(text)
        pictures.write(FOLDER / "images")
    for line in problems:
        sys.stderr.write(f"{line}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
