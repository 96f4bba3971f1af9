"""PostgreSQL: one room per aggregate, on asyncpg. Every row carries its tenant."""
