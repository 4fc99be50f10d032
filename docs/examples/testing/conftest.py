pytest_plugins = ["resroute.testing.fixtures"]
