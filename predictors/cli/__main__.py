"""`python -m predictors.cli` is `wavecast`."""

from predictors.cli import main

main()
