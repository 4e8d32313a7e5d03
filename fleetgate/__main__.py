"""`python -m fleetgate`: the same as `fleetgate`."""

import sys

from fleetgate.main import main

sys.exit(main())
