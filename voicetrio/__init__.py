"""Realtime speech providers on trio."""
