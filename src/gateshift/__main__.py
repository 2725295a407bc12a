"""``python -m gateshift``, as ``accelerate launch -m gateshift train ...`` needs it."""

from gateshift.cli.main import main

if __name__ == "__main__":
    main()
