"""What makes a package for npm of the JavaScript SDK, and its declarations for TypeScript."""
