"""Astronomers' tables: formats, columns, and tables larger than memory."""
