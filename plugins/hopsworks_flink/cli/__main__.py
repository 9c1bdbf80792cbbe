"""``python -m hopsworks_flink.cli``: the same as the script ``hopsworks-flink``."""

import sys

from hopsworks_flink.cli import main

sys.exit(main())
