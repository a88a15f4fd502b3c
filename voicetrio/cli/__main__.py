"""``python -m voicetrio.cli``."""

from . import main

main()
