"""What an isolate is held to: its limits, its call timeouts, its heartbeat, its recycling."""
