"""What tests share: data made small, phantoms, files written by hand, ways to run a command."""
