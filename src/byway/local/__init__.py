"""Models on this machine: the built-in one, a child process that Byway owns, and the model servers that others run."""
