"""The command line: from words to a command, a file of options, help, and completion in a shell."""
