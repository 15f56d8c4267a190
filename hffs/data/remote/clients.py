"""How HTTP clients are made: in an environment that may name no certificates, and quiet.

Owns the lines for what the environment does to a client, and that no client tells its requests:
addresses may be signed. It is known to every client of this package.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from hffs.errors import SourceError


@contextmanager
def making_client() -> Iterator[None]:
    """Make a client in here; SourceError where the environment allows for none."""
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        why = f"SSL_CERT_FILE or SSL_CERT_DIR has no certificates ({reason or error})"
        raise _refuse(why, "name a file of certificates, or unset it") from None
    except ImportError:
        why = "ALL_PROXY or HTTPS_PROXY names a SOCKS proxy, and the package socksio is missing"
        raise _refuse(why, "pip install socksio, or name an HTTP proxy") from None
    except (ValueError, httpx2.InvalidURL):
        why = "ALL_PROXY, HTTPS_PROXY or HTTP_PROXY is no address"
        raise _refuse(why, "set it to http://host:port") from None


def _refuse(why: str, fix: str) -> SourceError:
    # The chain is cut where this is called: an address of a proxy may hold a password.
    return SourceError("cannot make requests", why=why, fix=fix)
