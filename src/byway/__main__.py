"""`python -m byway`."""

from byway.cli.main import main

main()
