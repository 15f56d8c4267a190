"""A Hub, and the process that asks it, as the tests of `hffs.data.hub` have them."""

from tests.data.hub.conftest import asker, shared_asker, site

__all__ = ["asker", "shared_asker", "site"]
