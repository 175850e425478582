"""The program's page of the manual and its AppStream data, from the templates beside it. Run by the checkout's or the build's Python.

python manual.py --out DIR --version V --epoch SECONDS        writes vidconf.1 and vn.vidconf.client.metainfo.xml
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

FILES = Path(__file__).parent / "files"
PAGES = ("vidconf.1", "vn.vidconf.client.metainfo.xml")


def commands() -> dict[str, str]:
    """The commands that `vidconf --help` lists, each with its line."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))
    from vidconf.cli.main import COMMANDS

    return {name: line for name, (_, line) in COMMANDS.items() if line}


def roff(told: Mapping[str, str]) -> str:
    """A list of commands as a page of the manual has it."""
    return "\n".join(f".TP\n.B {escaped(name)}\n{escaped(line)}" for name, line in told.items())


def escaped(text: str) -> str:
    """`text` as roff shows it: no line begins a request, a hyphen stays one that can be searched for."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "").replace("\n", " ")
    return "\\&" + plain if plain.startswith((".", "'")) else plain


def filled(template: str, version: str, epoch: int) -> str:
    """The template with version, date (of `epoch`, seconds UTC) and commands put in."""
    date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
    text = template.replace("@VERSION@", version).replace("@DATE@", date)
    return text.replace("@COMMANDS@", roff(commands())) if "@COMMANDS@" in text else text


def main() -> int:
    parser = argparse.ArgumentParser(description="The page of the manual and the AppStream data.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--version", required=True)
    parser.add_argument("--epoch", type=int, required=True)
    told = parser.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        (told.out / name).write_text(filled((FILES / f"{name}.in").read_text(encoding="utf-8"), told.version, told.epoch), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
