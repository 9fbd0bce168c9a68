"""``python -m medfm`` is the ``medfm`` command."""

from medfm.cli.main import main

main()
