"""The command line's processes and its tiny models, to hold what Python does against."""

from tests.cli.conftest import cli as cli
from tests.cli.conftest import models as models
