"""Two replicas on one database in virtual time: the database's stand-in, their lives, what befalls them, checks."""
