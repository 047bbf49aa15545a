"""Every row of the fault tables that a transport can meet, over real sockets."""
