"""The benchmark that keeps Byway honest: `python -m bench`, beside nginx on the same machine in the same run."""
