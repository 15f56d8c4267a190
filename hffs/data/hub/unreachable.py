"""Why the Hub, or the proxy before it, cannot be reached, and what may help."""

from __future__ import annotations

import errno
import socket
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from hffs.data.hub.messages import clean, endpoint, or_offline
from hffs.data.hub.resolution import Request
from hffs.errors import SourceError


def explain_connection(error: BaseException, request: Request) -> SourceError | None:
    """The error that a user can act on, None if this is no failure to connect."""
    import httpx2

    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        fix = or_offline("set HF_ENDPOINT to https://...", request)
        why = f"cannot reach {endpoint()}: this is no address"
        return SourceError("cannot read", request.name, why=why, fix=fix)
    told = _trouble(error)
    if told is None and isinstance(error, httpx2.TooManyRedirects):
        told = "it redirects in a circle", "check HF_ENDPOINT"
    if told is None and isinstance(error, httpx2.ProxyError):
        told = f"the proxy refuses ({clean(str(error))})", "check HF_ENDPOINT"
    if told is None and isinstance(error, httpx2.TimeoutException):
        told = "it does not answer in time", "check the connection"
    if told is None:
        return None
    return _unreachable(request, *told)


def explain_broken(error: BaseException, request: Request) -> SourceError | None:
    """What is left of the network, once no cause further down says more."""
    import httpx2

    if not isinstance(error, httpx2.HTTPError | ConnectionError):
        return None
    why = f"the connection broke ({clean(str(error)) or type(error).__name__})"
    return _unreachable(request, why, "try again: what has arrived is kept")


def _unreachable(request: Request, why: str, fix: str) -> SourceError:
    through = ""
    if proxy := _find_proxy():
        variable, address = proxy
        # It stands between: what is refused or not known is more likely the proxy than the Hub.
        through, fix = f" through the proxy {clean(address)}", fix.replace("HF_ENDPOINT", variable)
    why = f"cannot reach {endpoint()}{through}: {why}"
    return SourceError("cannot read", request.name, why=why, fix=or_offline(fix, request))


def _find_proxy() -> tuple[str, str] | None:
    """The variable that names the proxy by which the Hub is asked, and the address in it."""
    from huggingface_hub import constants

    hub, proxies = urlsplit(constants.ENDPOINT), getproxies()
    scheme = hub.scheme if proxies.get(hub.scheme) else "all"
    address = proxies.get(scheme)
    if not address or proxy_bypass(hub.netloc):
        return None
    return f"{scheme.upper()}_PROXY", address if "://" in address else f"http://{address}"


def _trouble(error: BaseException) -> tuple[str, str] | None:
    """Why there is no connection at all, and what may help."""
    if isinstance(error, ssl.SSLError):
        reason = clean(getattr(error, "verify_message", "") or str(error))
        is_refused = isinstance(error, ssl.SSLCertVerificationError)
        why = "its certificate is not accepted" if is_refused else "TLS fails"
        return f"{why} ({reason})", "check the date, or set SSL_CERT_FILE"
    if isinstance(error, socket.gaierror):
        return "its name is not known", "check the network and HF_ENDPOINT"
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused", "check HF_ENDPOINT"
    if isinstance(error, TimeoutError):
        return "it does not answer in time", "check the connection"
    if isinstance(error, OSError) and error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH}:
        return "no route to it", "check the network"
    return None
