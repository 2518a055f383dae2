"""`python -m jianwei`."""

from jianwei.cli import main

main()
