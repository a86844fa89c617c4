"""Stores for asyncio: the contract with ``await``, and memory, SQLite and PostgreSQL."""
