"""Cases of the public HTTP cache test suite, and more of their kind, replayed over real sockets."""
