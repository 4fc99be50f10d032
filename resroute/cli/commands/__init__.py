"""What each command is called, takes and says of itself. What it does stands beside this package.

Nothing but Click is imported before a command runs, so that ``resroute --help`` answers at once.
"""
