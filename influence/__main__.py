"""`python -m influence ...` is `upstream ...`."""

from influence.cli import main

if __name__ == "__main__":
    main()
