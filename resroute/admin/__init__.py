"""The admin pages: health, readiness and metrics of one router, over HTTP."""

from resroute.admin.serving import serve_admin
from resroute.admin.view import RouterStatistics, RouterView

__all__ = ["RouterStatistics", "RouterView", "serve_admin"]
