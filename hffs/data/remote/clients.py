"""What the environment can do to an HTTP client: certificates and proxies that are none.

Owns the lines for it. It is known to every client of this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from hffs.errors import SourceError


@contextmanager
def explain_environment() -> Iterator[None]:
    """Make a client in here; SourceError where the environment allows for none."""
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
    return SourceError("cannot ask the Hub", why=why, fix=fix)
