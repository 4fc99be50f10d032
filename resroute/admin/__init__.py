"""The admin pages: health, readiness and metrics of one router, over HTTP."""

from resroute.admin.access import Access
from resroute.admin.serving import serve_admin
from resroute.admin.view import Administrable, GaugesView, RouterView

__all__ = ["Access", "Administrable", "GaugesView", "RouterView", "serve_admin"]
