"""Can the answer be believed: calibration and coverage.

``python benchmarks/bench_trust.py COMMAND --help`` explains each subcommand; `_trust` and `_hostile_files`
have the details.
"""

import argparse

import _hostile_files
import _trust


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    subparsers = parser.add_subparsers(dest="command", required=True)
    _trust.add_commands(subparsers)
    _hostile_files.add_commands(subparsers)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
