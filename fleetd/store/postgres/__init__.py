"""The journal on PostgreSQL, for several replicas. Imported only where ``daemon.state`` is set: it needs psycopg."""
