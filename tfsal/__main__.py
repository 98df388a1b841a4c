"""`python -m tfsal` is the command line."""

from tfsal.cli import main

main(prog_name="tfsal")
