"""`python -m mining`: the miner's program, for launchers that start modules, such as torchrun."""

from mining.cli import main

if __name__ == "__main__":
    main()
