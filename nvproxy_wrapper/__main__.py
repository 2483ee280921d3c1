"""`python3 -m nvproxy_wrapper`: the admin command."""

import sys

from .admin import main

sys.exit(main(sys.argv[1:]))
