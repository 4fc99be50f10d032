"""The admin pages: health, readiness and metrics of one router, over HTTP."""

from resroute.admin.serving import serve_admin
from resroute.admin.view import Administrable, GaugesView, RouterView

__all__ = ["Administrable", "GaugesView", "RouterView", "serve_admin"]
