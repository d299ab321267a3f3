"""Options that several commands have: the config file, the data folder, JSON output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from byway import platform

CONFIG: Final = click.option(
    "--config",
    "file",
    metavar="FILE",
    help="The config file. [default: $BYWAY_CONFIG, else in the user's config folder]",
)
DATA_DIR: Final = click.option(
    "--data-dir",
    "folder",
    metavar="DIR",
    help="The data folder. [default: $BYWAY_HOME, else in the user's data folder]",
)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def data_folder(folder: str | None) -> Path:
    """The data folder that `--data-dir` or `$BYWAY_HOME` names, else the user's own."""
    return platform.data_folder(folder, os.environ)
