"""Many WordPress sites at a glance: what each holds, what waits for somebody, and which are in trouble."""
