"""What the router tells about itself: counters and log lines."""
