"""`python -m fledge` is the command `fledge`."""

from fledge.cli.main import main

if __name__ == "__main__":
    main()
