"""Arguments of the command, and what it prints."""

import argparse
import json
import sys
from pathlib import Path

from xtalsk._version import __version__

ANSWERED, SOME_NOT, USAGE = 0, 1, 2
"""Exit codes: every file has an answer; some have none; the command was wrong."""

_EXAMPLES = """
examples:
  xtalsk identify scan.xy
      space group of a powder pattern (two columns: 2θ, intensity), and minerals that fit
  xtalsk identify scan.xy ring.dm4 --formula CaCO3 --report out.html
      a powder pattern and a ring image of the same composition, with figures
  xtalsk identify ring.tif --pixel-size 0.0125 --eds spectrum.msa
      the elements from an EDS spectrum of the specimen
  xtalsk identify zone1.tif zone2.tif --model spots --one-crystal --pixel-size 0.01
      spot patterns of one crystal, answered together
  xtalsk identify *.xrdml --json > answers.json
      many files; files that cannot be read are listed at the end

exit codes: 0 every file has an answer, 1 some have none, 2 wrong usage
"""


def make_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="xtalsk", description="Crystal structure from measured files.")
    parser.add_argument("--version", action="version", version=f"xtalsk {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    identify = commands.add_parser(
        "identify",
        help="space groups and phases of measured files",
        description="Name the space group and the crystal system of each file, and known phases that fit.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = identify.add_argument
    add("files", nargs="+", metavar="FILE", type=Path, help="powder patterns and diffraction images")
    chemistry = identify.add_mutually_exclusive_group()
    chemistry.add_argument("--formula", help="composition of the specimens, such as CaCO3")
    chemistry.add_argument("--eds", metavar="FILE", type=Path, help="EDS spectrum of the specimens")
    add(
        "--model",
        help="powder, rings, spots, or a file of xtalsk.save; default: powder for patterns, rings for images",
    )
    add("--one-crystal", action="store_true", help="with --model spots: all files are of one crystal")
    add("--wavelength", type=_positive, metavar="Å", help="of powder patterns that do not state it")
    add("--pixel-size", type=_positive, metavar="1/Å", help="of images that do not state it (q = 1/d)")
    add("--n-phases", type=int, default=3, choices=range(11), metavar="N", help="phases listed, 0 to 10 (3)")
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--report", metavar="FILE.html", type=Path, help="write a report with figures")
    add("--quiet", action="store_true", help="no progress")
    return parser


def _positive(text):
    """Return a positive number."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value


def main(arguments=None):
    """Run the command.

    Parameters
    ----------
    arguments : list of str or None
        None takes those of the process.

    Returns
    -------
    int
        Exit code: 0 if every file has an answer, 1 if some have none. Wrong usage ends the process with 2.

    Examples
    --------
    >>> from xtalsk.cli import main
    >>> main(["identify", "no/such/scan.xy", "--quiet", "--json"])
    [
     {
      "files": [
       "no/such/scan.xy"
      ],
      "answered": false,
      "reason": "'no/such/scan.xy': no such file",
      "warnings": [],
      "model": "powder"
     }
    ]
    1
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    from xtalsk.cli._identify import UsageError, identify

    try:
        answers = identify(options)
    except UsageError as error:
        parser.error(str(error))
    if options.json:
        print(json.dumps([answer.to_dict() for answer in answers], indent=1, ensure_ascii=False))  # noqa: T201
    else:
        from xtalsk.cli._table import table_of

        print(table_of(answers, options.n_phases))  # noqa: T201
    if options.report:
        from xtalsk.cli._report import write_report

        write_report(options.report, answers)
        print(f"report: {options.report}", file=sys.stderr)  # noqa: T201
    return ANSWERED if all(answer.answered for answer in answers) else SOME_NOT
