"""`python -m byway`."""

from byway.cli import main

main()
