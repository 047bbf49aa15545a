"""OAuth 2.0: who asks (`client`), by which way (`lane`), what for (`grants`), and the credential that comes of it."""
