"""``python -m resroute`` is ``resroute``."""

from resroute.cli import main

main()
