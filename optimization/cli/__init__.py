"""Subcommands of `wavecast` that work offline."""
