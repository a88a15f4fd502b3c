"""The pytest plugin of voicetrio (see docs/testing.md)."""
