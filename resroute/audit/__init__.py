"""The audit log: what was taken by force, cleaned up, expired, or done by administrators; in a file, or in memory."""
