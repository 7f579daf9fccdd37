"""python -m facegraph.cli, where the console command is not on the PATH."""

from facegraph.cli import main

main()
