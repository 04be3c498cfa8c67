"""What an isolate is held to: its limits, its call timeouts, its heartbeat, its recycling.

Each looks at one process, or at the calls, and may ask for an end (`kill`) or a replacement; none decides what follows.
"""
