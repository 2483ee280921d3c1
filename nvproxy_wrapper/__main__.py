"""`python3 -m nvproxy_wrapper`: the admin command."""

import sys

from nvproxy_wrapper.admin.command import main

sys.exit(main(sys.argv[1:]))
